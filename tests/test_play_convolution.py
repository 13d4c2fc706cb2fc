"""The filter that slides in a browser shows what `conv2d` computes."""
import re

import numpy as np
import pytest

import lessons
from conftest import ROOT
from covid_nbdev.convolution import conv2d
from test_play import page_of, said

GRID = np.array([[1, 1, 1, 9, 9], [6, 1, 1, 9, 9], [1, 1, 1, 9, 9], [1, 1, 1, 1, 9], [1, 1, 1, 1, 9]])


@pytest.fixture(scope="module")
def figure():
    "As the lesson saved it, with the files of today."
    cells = lessons.read(ROOT/"nbs"/"09_convolution.ipynb").cells
    html, = [o["data"]["text/html"] for c in cells if c.cell_type == "code" for o in c.outputs if "data-covid-play" in o.get("data", {}).get("text/html", "")]
    for file in ("play.css", "play.js", "convolution.js"):
        source = (ROOT/"covid_nbdev"/"play"/file).read_text()
        assert "\n".join(l for l in source.splitlines() if l.strip()) in html, "stale: tools/lessons.py --write 09_convolution"
    return html


@pytest.fixture
def page_with(page_of, figure): return lambda **options: page_of(figure, **options)


def test_sums_equal_conv2d(page_with):
    "Every filter, stride and padding; one's own numbers; the sum as it is written out."
    page = page_with()
    for name in ("edge, left to right", "edge, top to bottom", "blur", None):
        if name: page.get_by_role("radio", name=name).check()
        else: page.get_by_role("spinbutton", name="weight in row 0, column 2").fill("-2.5")
        assert page.get_by_role("radio", name=name or "your own numbers").is_checked()
        for stride in ("1", "2"):
            for padding in ("0", "1"):
                page.get_by_role("group", name="Stride").get_by_role("radio", name=stride).check()
                page.get_by_role("group", name="Padding").get_by_role("radio", name=padding).check()
                page.get_by_role("button", name="Fill all").click()
                found = said(page)
                expected = conv2d(GRID[None], [[found["weights"]]], None, int(stride), int(padding))[0]
                np.testing.assert_allclose(found["output"], expected, atol=1e-9)
                assert f"5×5 in, {len(expected)}×{len(expected)} out" in page.locator("figure").inner_text()
    assert found["weights"][0] == [1, 1, -2.5], "the blur's numbers, one of them changed, no longer divided by 9"


def test_mouse_keys_and_buttons_move_the_filter(page_with):
    page = page_with()
    canvas = page.locator("canvas").first
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 4.5/7*box["width"], box["y"] + 3.5/7*box["height"])      # over input row 2, column 3
    assert (said(page)["row"], said(page)["column"], said(page)["sum"]) == (1, 2, 24)
    canvas.focus()
    for key in ("ArrowLeft", "ArrowDown", "ArrowDown"): page.keyboard.press(key)
    assert (said(page)["row"], said(page)["column"], said(page)["sum"]) == (2, 1, 8)
    text = page.locator("figure output").inner_text()
    products = [int(a.replace("−", "-"))*int(b) for a, b in re.findall(r"\(?(−?\d+)\)?·(\d+)", text)]
    assert len(products) == 9 and sum(products) == 8 and "= 8" in text
    assert [[v is not None for v in line] for line in said(page)["output"]] == [[True, False, False], [False, True, True], [False, True, False]]
    page.get_by_role("button", name="Next place").click()
    assert (said(page)["row"], said(page)["column"]) == (2, 2)
    page.get_by_role("button", name="Clear").click()
    assert sum(v is not None for line in said(page)["output"] for v in line) == 1


@pytest.mark.parametrize("width, dark", [(1300, False), (390, True)])
def test_fits_and_is_accessible(page_with, width, dark):
    "With reduced motion, Run fills the map at once."
    from axe_playwright_python.sync_playwright import Axe
    page = page_with(width=width, dark=dark, reduced_motion="reduce", has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Run").tap()
    assert all(v is not None for line in said(page)["output"] for v in line)
    box = page.locator("canvas").nth(1).bounding_box()
    page.touchscreen.tap(box["x"] + .5*box["width"], box["y"] + .1*box["height"])
    assert (said(page)["row"], said(page)["column"]) == (0, 2)
    bad = [v for v in Axe().run(page).response["violations"] if v["impact"] in ("serious", "critical")]
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in bad] == []
