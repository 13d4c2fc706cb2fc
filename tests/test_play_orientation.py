"""The playable figure of lesson 19, in a real browser: each step is NumPy's, and the marks stay with the patient."""
import numpy as np
import pytest

from covid_nbdev.play import pack, playable
from covid_nbdev.scans import turn
from test_play import grave_faults, holds_the_present_files, one_figure, page_of, pixels, said      # noqa: F401 (a fixture)

SIDE = 24
FILES = ["RA", "LP", "PR", "AL"]
STEPS = {"np.rot90(a)": np.rot90, "a[:, ::-1]": lambda a: a[:, ::-1], "a[::-1]": lambda a: a[::-1], "a.T": lambda a: a.T}


@pytest.fixture(scope="module")
def figure():
    gray = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
    data = dict(size=SIDE, mm=3, files=FILES, gray=pack(gray))
    return gray, playable("orientation", data, gray, "A slice as a file stores it.", "Turn it.")


def shown(page): return pixels(page)[::4, ::4, 0]


def as_in_a_file(gray, letters): return turn(gray[None], "SPL", letters + "S")[:, :, 0]


def test_steps_and_marks(page_of, figure):      # noqa: F811
    gray, html = figure
    page = page_of(html, width=390, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for letters in FILES:
        page.get_by_role("radio", name=f"{letters[0]}, {letters[1]}").check()
        array = as_in_a_file(gray, letters)
        assert np.array_equal(shown(page), array)
        for name in ("np.rot90(a)", "a.T", "a[:, ::-1]", "a[::-1]", "np.rot90(a)"):
            page.get_by_role("button", name=name, exact=True).click()
            array = STEPS[name](array)
            now = said(page)
            assert np.array_equal(shown(page), array) and np.array_equal(array, as_in_a_file(gray, now["down"] + now["right"]))
            turns = [np.rot90(gray, k) for k in range(4)]
            assert now["mirrored"] != any(np.array_equal(array, t) for t in turns)
    page.get_by_role("button", name="As stored").click()
    page.get_by_role("button", name="np.rot90(a)", exact=True).click()
    text = page.locator("figure").inner_text()
    assert "looks right and is wrong" in text and said(page)["mirrored"] and np.array_equal(shown(page), gray[:, ::-1])
    page.get_by_role("button", name="a[:, ::-1]", exact=True).click()
    assert "Upright" in page.locator("figure").inner_text() and np.array_equal(shown(page), gray)


def test_the_cross_by_key_mouse_and_finger(page_of, figure):      # noqa: F811
    gray, html = figure
    page = page_of(html, has_touch=True)
    canvas = page.locator("canvas")
    canvas.focus()
    for key in ("ArrowUp", "Shift+ArrowLeft"): page.keyboard.press(key)
    assert (said(page)["row"], said(page)["column"]) == (SIDE//2 - 1, SIDE//2 - 10)
    r, c = said(page)["source"]
    assert shown(page)[SIDE//2 - 1, SIDE//2 - 10] == gray[r, c]
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"]*(3.5/SIDE), box["y"] + box["height"]*(20.5/SIDE))
    assert (said(page)["row"], said(page)["column"]) == (20, 3)
    page.touchscreen.tap(box["x"] + box["width"]*(15.5/SIDE), box["y"] + box["height"]*(7.5/SIDE))
    assert (said(page)["row"], said(page)["column"]) == (7, 15)
    page.get_by_role("radio", name="hidden").check()
    assert page.locator(".covid-play-stage span:visible").count() == 0
    assert grave_faults(page) == []


def test_the_lesson_shows_this_figure(): holds_the_present_files(one_figure("19_scans", "orientation"), "orientation", "19_scans")
