"""The playable figure of lesson 02, in a real browser: its labels are argmax's and onehot_to_mask's."""
import re

import numpy as np
import pytest

from covid_nbdev.masks import CLASS_COLORS, CLASSES, mask_to_onehot, onehot_to_mask
from covid_nbdev.play import playable
from test_play import grave_faults, holds_the_present_files, one_figure, page_of, said

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
    assert grave_faults(page_of(figure)) == []


def test_the_lesson_shows_this_figure(): holds_the_present_files(one_figure("02_masks", "onehot"), "onehot", "02_masks")
