"""The leak laboratory (lesson 07), in a real browser: its means and spreads are NumPy's, by mouse and by keyboard."""
import numpy as np
import pytest

from covid_nbdev.play import pack, playable
from test_play import faults_and_doubts, page_of, said      # noqa: F401 (a fixture)

SHARES = [0, 25, 50, 75, 100]


@pytest.fixture(scope="module")
def laboratory():
    "Scores in thousandths (predictor, share, reported or true, repetition)."
    scores = np.random.default_rng(0).integers(0, 900, (2, 5, 2, 40)).astype(np.uint16)
    predictors = [["remembers", "remembers: copies labels"], ["thresholds", "two HU intervals"]]
    data = dict(shares=SHARES, repetitions=40, predictors=predictors, scores=pack(scores), start=2)
    return scores/1000, playable("leak", data, np.full((60, 90), 255), "Reported and true scores by share.", "Set the share.")


def agrees(page, scores, predictor, share):
    found, (reported, true) = said(page), scores[predictor, SHARES.index(share)]
    assert found["share"] == share
    for part, values in (("reported", reported), ("truth", true)):
        assert found[part]["mean"] == pytest.approx(values.mean()) and found[part]["middle"] == pytest.approx(np.percentile(values, [5, 95]))
    assert found["higher"] == (reported > true).sum() and found["pair"] == pytest.approx([v[found["repetition"]] for v in (reported, true)])
    text = page.locator("figure").inner_text()
    assert f"Reported: mean {reported.mean():.2f}" in text and f"in {found['higher']} of 40 repetitions" in text


def test_every_share_and_predictor_on_a_phone(page_of, laboratory):      # noqa: F811
    scores, html = laboratory
    page = page_of(html, width=390, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    agrees(page, scores, 0, 50)
    page.get_by_role("slider", name="Share").focus()
    page.keyboard.press("ArrowRight")
    agrees(page, scores, 0, 75)
    page.get_by_role("radio", name="two HU").check()
    agrees(page, scores, 1, 75)
    page.get_by_role("button", name="Another repetition").click()
    assert said(page)["repetition"] == 1
    box = page.locator("figure svg").nth(1).bounding_box()
    page.mouse.click(box["x"] + .08*box["width"], box["y"] + box["height"]/2)
    agrees(page, scores, 1, 0)
    assert faults_and_doubts(page) == []
