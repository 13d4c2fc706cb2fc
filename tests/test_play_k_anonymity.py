"""The playable figure of lesson 20, in a real browser: its k is k_of's."""
import numpy as np
import pandas as pd
import pytest

from covid_nbdev.play import pack, playable
from covid_nbdev.privacy import k_of
from test_play import grave_faults, holds_the_present_files, one_figure, page_of, said      # noqa: F401 (a fixture)


@pytest.fixture(scope="module")
def hospital():
    rng = np.random.default_rng(1)
    people = pd.DataFrame(dict(born=rng.integers(0, 9000, 200), sex=rng.integers(0, 2, 200),
                               scan=rng.integers(36525, 36890, 200), scanner=rng.integers(0, 3, 200)))
    data = dict(columns=20, rows=10, first_day="1920-01-01", known=["born"], chosen=3, born=pack(people["born"].to_numpy(np.uint16)),
                scan=pack(people["scan"].to_numpy(np.uint16)), sex=pack(people["sex"].to_numpy(np.uint8)),
                scanner=pack(people["scanner"].to_numpy(np.uint8)))
    return people, playable("k_anonymity", data, np.full((60, 90), 255), "Squares colored by k.", "Tick what an attacker knows.")


def agrees(page, people, known, coarse):
    found, people = said(page), people.copy()
    for name in ("born", "scan"):
        people[name] = (pd.Timestamp("1920-01-01") + pd.to_timedelta(people[name], "D")).dt.to_period(coarse[0].upper())
    k = k_of(people, known)
    assert (found["known"], found["coarse"]) == (known, coarse)
    assert (found["alone"], found["least"], found["k"]) == ((k == 1).sum(), k.min(), k[found["chosen"]])
    assert found["found"] == pd.cut(k, [0, 1, 4, 19, 1e9]).value_counts(sort=False).tolist()
    assert f"{found['alone']} of 200 people stand alone" in page.locator("figure").inner_text()


def test_what_an_attacker_knows(page_of, hospital):      # noqa: F811
    "On a dark phone, by mouse and by keyboard."
    people, html = hospital
    page = page_of(html, width=390, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    agrees(page, people, ["born"], "day")
    page.get_by_role("checkbox", name="sex").check()
    agrees(page, people, ["born", "sex"], "day")
    page.get_by_role("radio", name="year").check()
    agrees(page, people, ["born", "sex"], "year")
    page.get_by_role("checkbox", name="date of birth").uncheck()
    page.get_by_role("checkbox", name="scanner").focus()
    page.keyboard.press("Space")
    agrees(page, people, ["sex", "scanner"], "year")
    page.locator("canvas").focus()
    page.keyboard.press("ArrowDown"); page.keyboard.press("ArrowRight")
    assert said(page)["chosen"] == 3 + 20 + 1
    agrees(page, people, ["sex", "scanner"], "year")
    box = page.locator("canvas").bounding_box()
    page.mouse.click(box["x"] + .975*box["width"], box["y"] + .95*box["height"])
    assert said(page)["chosen"] == 199
    page.get_by_role("button", name="Another").click()
    assert said(page)["chosen"] == (199*7 + 1237) % 200
    assert grave_faults(page) == []


def test_the_lesson_shows_this_figure(): holds_the_present_files(one_figure("20_privacy", "k_anonymity"), "k_anonymity", "20_privacy")
