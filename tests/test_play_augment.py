"""The playable figure of lesson 08, in a real browser: what it shows is NumPy's."""
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from covid_nbdev.masks import CLASS_COLORS
from covid_nbdev.play import pack, playable
from test_play import grave_faults, one_figure, page_of, pixels, said      # noqa: F401 (a fixture)

SIDE = 24


@pytest.fixture(scope="module")
def four():
    rng = np.random.default_rng(0)
    hu, labels = rng.integers(-1000, 300, (SIDE, SIDE)).astype(np.int16), rng.integers(0, 4, (SIDE, SIDE)).astype(np.uint8)
    data = dict(rows=SIDE, columns=SIDE, hu=pack(hu), labels=pack(labels), colors=[[round(255*v) for v in to_rgb(c)] for c in CLASS_COLORS.values()])
    return hu, labels, playable("augment", data, np.zeros((SIDE, 2*SIDE)), "A slice and its mask, side by side.", "Turn it.")


def check(page, hu, labels):
    "The figure's picture and numbers for this slice and mask, HU and classes as they should be after all moves."
    now, gray = said(page), np.clip((hu + 1350)/1500, 0, 1)*255
    assert np.abs(pixels(page)[:, :SIDE] - gray[..., None]).max() <= 1
    assert now["glass"] == pytest.approx((labels == 0).mean()) and now["dark"] == pytest.approx((hu[labels < 3] < -100).mean())
    assert now["lung"] == pytest.approx(np.sort(hu[labels == 2])[(labels == 2).sum()//2])


def test_turn_mirror_and_scale_are_numpy_s(page_of, four):      # noqa: F811
    hu, labels, html = four
    page = page_of(html, width=390, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    def move(name, value): page.get_by_role("slider", name=name).fill(str(value))
    check(page, hu, labels)
    for angle, quarters in ((90, 1), (180, 2), (-90, 3)):
        move("Turn", angle)
        check(page, np.rot90(hu, quarters), np.rot90(labels, quarters))
    page.get_by_role("radio", name="yes").check()
    check(page, np.rot90(hu, 3)[:, ::-1], np.rot90(labels, 3)[:, ::-1])
    page.get_by_role("button", name="As it was").click()
    move("Gain", 110); move("Offset", -20)
    check(page, (hu + 1000.)*1.1 - 1020, labels)
    assert "Air: \u22121020 HU" in page.locator("figure").inner_text()
    page.get_by_role("button", name="As it was").click()
    move("Turn", 45)
    kept = said(page)["glass"]
    page.get_by_role("radio", name="0 HU and class 0").check()
    assert .1 < said(page)["glass"] - kept < .25            # the corners are ground glass
    page.get_by_role("radio", name="air and background").check()
    move("Turn", 180)
    page.get_by_role("radio", name="stays").check()
    check(page, np.rot90(hu, 2), labels)
    for _ in range(5): page.get_by_role("button", name="Another draw").click()
    assert said(page)["angle"] != 180 or said(page)["gain"] != 100


def test_it_is_accessible(page_of, four):      # noqa: F811
    assert grave_faults(page_of(four[2])) == []


def test_the_lesson_shows_this_figure(): one_figure("08_augment", "augment")
