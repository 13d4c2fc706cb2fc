"""The browser of errors (lesson 16), in a real browser: counts at any threshold, the rival, the circle, the curve's top."""
import numpy as np
import pytest

from covid_nbdev.play import pack, playable
from test_play import holds_the_present_files, page_of, pixels, said, saved_figures      # noqa: F401 (a fixture)

N, SIDE = 3, 24
COLORS = [[255, 222, 26], [222, 26, 26], [26, 166, 64]]


@pytest.fixture(scope="module")
def six():
    rng = np.random.default_rng(0)
    gray, probability = rng.integers(0, 256, (2, N, SIDE, SIDE)).astype(np.uint8)
    truth, other = (rng.random((2, N, SIDE, SIDE)) < .3).astype(np.uint8)
    truth[2] = 0                                       # a patient without a lesion
    data = dict(rows=SIDE, columns=SIDE, of=40, start=1, rival="the rule", colors=COLORS, gray=pack(gray), probability=pack(probability),
                truth=pack(truth), other=pack(other), patients=["7: worst", "8: median", "9: none"])
    return gray, probability, truth == 1, other == 1, playable("errors", data, gray[0], "Slices with errors, to be browsed.", "Move.")


def counts(found, true): return [int(n.sum()) for n in (found & true, found & ~true, true & ~found)]


def test_counts_pixels_and_curve(page_of, six):      # noqa: F811
    gray, probability, truth, other, html = six
    page = page_of(html)
    def shown(): return [said(page)[k] for k in ("both", "wrong", "missed")]
    slider = page.get_by_role("slider", name="probability")
    for patient, percent in ((1, 50), (0, 50), (0, 20), (0, 99), (2, 99)):
        page.locator("fieldset").nth(1).get_by_role("radio").nth(patient).check()
        slider.fill(str(percent))
        found = probability[patient]/255 > percent/100
        assert shown() == counts(found, truth[patient]) and said(page)["percent"] == percent
        both, red, green = shown()
        assert f"both, {both} px. Red: predicted, not true, {red} px. Green: true, not predicted, {green} px." in page.locator("figure").inner_text()
    assert "recall \u2013" in page.locator("figure").inner_text()      # nothing to find
    page.locator("fieldset").nth(1).get_by_role("radio").nth(1).check()
    page.get_by_role("button", name="Back to 50 %").click()
    found = probability[1]/255 > .5
    painted = np.where((found & truth[1])[..., None], COLORS[0], np.where(found[..., None], COLORS[1], np.where(truth[1][..., None], COLORS[2], -1)))
    expected = np.where(painted < 0, gray[1][..., None], .4*gray[1][..., None] + .6*painted)
    assert np.abs(pixels(page) - expected).max() <= 1
    ious = [both/(both + red + green) for both, red, green in (counts(probability[1]/255 > t/100, truth[1]) for t in range(1, 100))]
    assert f"Highest on this slice: {max(ious):.2f} at {np.argmax(ious) + 1} %." in page.locator("figure").inner_text()
    page.get_by_role("radio", name="the rule").check()
    assert shown() == counts(other[1], truth[1]) and slider.is_disabled()
    page.get_by_role("radio", name="the slice alone").check()
    assert (pixels(page) == gray[1][..., None]).all() and "both" not in said(page)


def test_keyboard_and_pointer_on_a_phone(page_of, six):      # noqa: F811
    _, probability, truth, _, html = six
    page = page_of(html, width=390, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator("canvas").focus()
    for key in ("ArrowRight", "Shift+ArrowUp", "ArrowDown"): page.keyboard.press(key)
    assert (said(page)["x"], said(page)["y"]) == (SIDE//2 + 1, SIDE//2 - 7)
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"]*.99, box["y"] + box["height"]*.01)
    assert (said(page)["x"], said(page)["y"]) == (SIDE - 1, 0)
    word = "lesion" if truth[1, 0, -1] else "no lesion"
    assert f"{100*int(probability[1, 0, -1])/255:.0f} % lesion, says the network. True: {word}." in page.locator("figure").inner_text()
    page.get_by_role("slider", name="probability").focus()
    page.keyboard.press("ArrowLeft")
    assert said(page)["percent"] == 49


def test_the_lesson_shows_the_present_script():
    html, = saved_figures("16_results")
    holds_the_present_files(html, "errors", "16_results")
    assert len(html) < 300_000
