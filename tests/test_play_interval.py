"""Two methods, two intervals, one difference (lesson 17), in a real browser: what it computes is what the library computes."""
import numpy as np
import pytest

from covid_nbdev.evidence import paired_difference
from covid_nbdev.play import playable
from test_play import faults_and_doubts, page_of, said      # noqa: F401 (a fixture)


@pytest.fixture(scope="module")
def html():
    settings = dict(patients=24, gain=3, noise=4, center=50, spread=20, draws=1000, seed=1)
    return playable("interval", settings, np.full((60, 90), 255), "Three intervals on one axis, of A, of B, of B minus A.", "Set the sliders.")


def agrees(found):
    first, second = np.array(found["first"]), np.array(found["second"])
    for row, (a, b) in zip(found["rows"], ((first, 0*first), (second, 0*first), (second, first))):
        ours = paired_difference(a, b)
        assert row["mean"] == pytest.approx(ours.difference) and row["ci95"] == pytest.approx(ours.ci95, abs=.12*np.ptp(ours.ci95))
    assert found["p"] == pytest.approx(ours.p, abs=.06) and found["shown"] == (not row["ci95"][0] <= 0 <= row["ci95"][1])


def test_what_it_shows_is_what_the_library_computes(page_of, html):      # noqa: F811
    page = page_of(html)
    page.locator("[data-covid-play]").get_by_role("button", name="Other patients").click()
    agrees(said(page))
    text = page.locator("figure").inner_text()
    assert f"B \u2212 A: {said(page)['rows'][2]['mean']:.1f}".replace("-", "\u2212") in text and "overlap" in text and "in " in text
    before = said(page)["rows"]
    page.get_by_role("slider", name="Noise").fill("20")
    assert said(page)["sets"] == 1 and np.ptp(said(page)["rows"][2]["ci95"]) > 2*np.ptp(before[2]["ci95"])
    agrees(said(page))
    page.get_by_role("slider", name="True difference").fill("0")
    for _ in range(3): page.get_by_role("button", name="20 other sets").click()
    assert said(page)["sets"] == 61 and said(page)["times"] <= 14
    page.get_by_role("slider", name="Patients").fill("120")
    assert len(said(page)["first"]) == 120


def test_keyboard_on_a_phone(page_of, html):      # noqa: F811
    page = page_of(html, width=390, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert faults_and_doubts(page) == []
    page.get_by_role("slider", name="Patients").focus()
    page.keyboard.press("ArrowRight")
    assert said(page)["patients"] == 25
    page.get_by_role("button", name="20 other sets").focus()
    page.keyboard.press("Enter")
    assert said(page)["sets"] == 21 and f"in {said(page)['times']} of 21 sets" in page.locator("figure").inner_text()
