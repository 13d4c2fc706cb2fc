"""The playable figure of lesson 12, in a real browser: its numbers are torch's."""
import re

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from covid_nbdev.masks import CLASS_COLORS, CLASSES
from covid_nbdev.play import playable
from test_play import grave_faults, one_figure, page_of, said

NAMES = [c.replace("_", " ") for c in CLASSES]


@pytest.fixture(scope="module")
def figure():
    data = {"classes": NAMES, "colors": list(CLASS_COLORS.values()), "logits": [2, 1, 0, 0], "truth": 0}
    return playable("softmax", data, np.zeros((40, 40)), "Bars of four probabilities and of their gradient.", "Four logits of one pixel.")


def expected(logits, truth, twice):
    "Loss and gradient by autograd."
    logits = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    loss = cross_entropy((logits.softmax(0) if twice else logits)[None], torch.tensor([truth]))
    return loss.item(), torch.autograd.grad(loss, logits)[0].tolist()


def check(page):
    now = said(page)
    loss, gradient = expected(now["logits"], now["truth"], now["twice"])
    assert now["loss"] == pytest.approx(loss, abs=1e-9) and now["gradient"] == pytest.approx(gradient, abs=1e-9)
    assert re.search(r"Loss (\d+\.\d{3})", page.locator("figure").inner_text())[1] == f"{loss:.3f}"
    return now


def test_softmax_once_and_twice_are_torch_s(page_of, figure):
    "Sliders by keyboard, every control, and ten steps: what is shown is cross-entropy and its gradient."
    page = page_of(figure, width=390, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth") and "\u22120.3897" in page.locator("figure").inner_text()
    for name in NAMES:
        page.get_by_role("slider", name=f"Logit of {name}").focus()
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "PageUp"): page.keyboard.press(key)
        check(page)
    for truth, twice in ((2, "twice"), (3, "once")):
        page.get_by_role("radio", name=NAMES[truth], exact=True).check()
        page.get_by_role("radio", name=twice).check()
        now = check(page)
        assert (now["truth"], now["twice"]) == (truth, twice == "twice")
    before = check(page)
    page.get_by_role("button", name="Add 1 to all").click()
    assert check(page)["p"] == pytest.approx(before["p"])
    lost = {}
    for twice in ("once", "twice"):
        page.get_by_role("radio", name=twice).check()
        page.get_by_role("button", name="Sure and wrong").click()
        assert (check(page)["logits"], check(page)["truth"]) == ([8, 0, 0, 0], 3)
        page.get_by_role("button", name="Ten steps down").click()
        lost[twice] = check(page)["p"][3]
    assert lost["once"] > .9 and lost["twice"] < .2        # the bug hardly learns
    page.get_by_role("button", name="Sure and right").click()
    assert .744 - 1e-3 < check(page)["loss"] < .75


def test_it_is_accessible(page_of, figure):
    assert grave_faults(page_of(figure)) == []


def test_the_lesson_shows_this_figure(): one_figure("12_model", "softmax")
