"""The gallery of curves (lesson 15), in a real browser: read, answered wrongly and rightly, by mouse and by keyboard."""
import numpy as np
import pytest

from covid_nbdev.play import playable
from test_play import page_of, said      # noqa: F401 (a fixture)

NAMES = ["leak", "healthy", "rate", "small", "overfitting", "underfitting"]
LABELS = {"leak": "validation easier than training, or a leak", "healthy": "healthy", "rate": "learning rate too high",
          "small": "validation set too small", "overfitting": "overfitting", "underfitting": "underfitting"}


@pytest.fixture(scope="module")
def gallery():
    rng = np.random.default_rng(0)
    pairs = [dict(name=name, train=rng.random(30).round(3).tolist(), valid=rng.random(30).round(3).tolist()) for name in NAMES]
    return pairs, playable("curves", dict(pairs=pairs, top=1.4, floor=.8), np.full((60, 90), 255), "Six pairs of curves to be named.", "Choose.")


def test_each_pair_has_its_answer(page_of, gallery):      # noqa: F811
    pairs, html = gallery
    page = page_of(html)
    answers = page.get_by_role("group", name="Which is this?")
    for i, name in enumerate(NAMES):
        page.get_by_role("button", name=f"pair {i + 1}").click()
        assert f"training loss {pairs[i]['train'][29]:.2f}, validation loss {pairs[i]['valid'][29]:.2f}" in page.locator("figure").inner_text()
        wrong = LABELS[NAMES[i - 1]]
        if i == 2:                                        # once at the second try
            answers.get_by_role("button", name=wrong, exact=True).click()
            assert said(page)["solved"][i] == "" and "Not \u201c" in page.locator("figure").inner_text()
        if i == 5: page.get_by_role("button", name="Show the answer").click()
        else: answers.get_by_role("button", name=LABELS[name], exact=True).click()
        assert f"Pair {i + 1}: {LABELS[name]}." in page.locator("figure").inner_text()
    assert said(page)["solved"] == ["found"]*5 + ["shown"] and said(page)["tries"] == [1, 1, 2, 1, 1, 0]
    assert "5 of 6 found, 4 at the first try." in page.locator("figure").inner_text()


def test_keyboard_and_pointer_on_a_phone(page_of, gallery):      # noqa: F811
    pairs, html = gallery
    page = page_of(html, width=390, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="pair 1").focus()
    for key, pair in (("ArrowRight", 1), ("ArrowDown", 4), ("ArrowLeft", 3), ("ArrowUp", 0)):
        page.keyboard.press(key)
        assert said(page)["pair"] == pair
    page.get_by_role("slider", name="Epoch").focus()
    page.keyboard.press("ArrowLeft")
    assert said(page)["epoch"] == 29
    box = page.locator("figure svg").first.bounding_box()
    page.mouse.move(box["x"] + box["width"]*.5, box["y"] + box["height"]/2)
    at = said(page)["epoch"]
    assert at in (15, 16) and f"Epoch {at}: training loss {pairs[0]['train'][at - 1]:.2f}" in page.locator("figure").inner_text()
