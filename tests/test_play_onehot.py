"""The playable figure of lesson 02, in a real browser: its labels are argmax's and onehot_to_mask's."""
import re

import numpy as np
import pytest

import lessons
from conftest import ROOT
from covid_nbdev.masks import CLASS_COLORS, CLASSES, mask_to_onehot, onehot_to_mask
from covid_nbdev.play import playable
from test_play import page_of, said

MASK = [[3, 3, 3, 3], [3, 2, 0, 3], [3, 0, 1, 3], [3, 3, 3, 3]]
NAMES = [c.replace("_", " ") for c in CLASSES]


@pytest.fixture(scope="module")
def figure():
    data = {"classes": NAMES, "colors": list(CLASS_COLORS.values()), "mask": MASK}
    return playable("onehot", data, np.zeros((40, 80)), "Two grids of labels.", "A mask as four channels.")


def check(page):
    now = said(page)
    hot = np.array(now["hot"])
    np.testing.assert_array_equal(now["argmax"], hot.argmax(-1))
    np.testing.assert_array_equal(now["folded"], onehot_to_mask(hot))
    words = page.locator("figure").inner_text()
    code, first, folded = (hot[now["row"], now["column"]] @ [1, 2, 4, 8], now["argmax"][now["row"]][now["column"]],
                           now["folded"][now["row"]][now["column"]])
    assert f"code {code}. argmax: {first} {NAMES[first]}. onehot_to_mask: {folded} {NAMES[folded]}." in words
    assert f"{(hot.argmax(-1) < 2).sum()} by argmax, {(onehot_to_mask(hot) < 2).sum()} by onehot_to_mask" in words
    return hot


def test_all_sixteen_codes_and_the_traps(page_of, figure):
    "By keyboard alone, in a narrow dark page; every label is what the library says."
    page = page_of(figure, width=390, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    np.testing.assert_array_equal(check(page), mask_to_onehot(MASK))
    page.locator("canvas").first.focus()
    page.keyboard.press("ArrowDown")
    assert (said(page)["row"], said(page)["column"]) == (2, 2)
    seen = set()
    for step in range(16):                       # a Gray code: one switch at a time visits all sixteen
        page.get_by_role("button", name=re.compile(f"^{(step + 1 & -step - 1).bit_length() - 1 if step < 15 else 3} ")).press("Enter")
        seen.add(int(check(page)[2, 2] @ [1, 2, 4, 8]))
    assert seen == set(range(16))
    for name, lesions in {"First row without labels": 7, "No background drawn": 15, "Two labels in one pixel": 3, "All labeled": 3}.items():
        page.get_by_role("button", name=name).click()
        assert (check(page).argmax(-1) < 2).sum() == lesions


def test_it_is_accessible(page_of, figure):
    from axe_playwright_python.sync_playwright import Axe
    found = Axe().run(page_of(figure)).response
    assert [v["id"] for v in found["violations"] if v["impact"] in ("serious", "critical")] == []


def test_the_lesson_shows_this_figure():
    shown = [o.data["text/html"] for c in lessons.read(ROOT/"nbs"/"02_masks.ipynb").cells if c.cell_type == "code" for o in c.outputs
             if "text/html" in o.get("data", {}) and "covid-play" in o.data["text/html"]]
    assert len(shown) == 1 and 'data-covid-play="onehot"' in shown[0]
    source = (ROOT/"covid_nbdev"/"play"/"onehot.js").read_text()
    assert "\n".join(line for line in source.splitlines() if line.strip()) in shown[0], "stale: tools/lessons.py --write 02_masks"
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|\beval\(|fetch\(", shown[0]) and "\n\n" not in shown[0] and "$" not in shown[0]
