"""Believe the line or not (lesson 23), in a real browser: the picture is hidden until the reader decides."""
import pytest

from test_play import faults_and_doubts, holds_the_present_files, page_of, said, saved_figures      # noqa: F401 (a fixture)

pytestmark = pytest.mark.browser
COLORS = "() => { const c = document.querySelector('canvas'); return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size }"


def test_decide_then_see(page_of):      # noqa: F811
    [html] = saved_figures("23_cli")
    holds_the_present_files(html, "believe", "23_cli")
    page = page_of(html)
    n = len(said(page)["answers"])
    for i in range(n):
        assert said(page)["shown"] == i and page.evaluate(COLORS) == 2, "one gray, and opaque"
        assert "% of the lung ground glass" in page.locator("figure").inner_text()
        page.get_by_role("button", name="I believe it" if i % 2 else "I don't").click()
        assert page.evaluate(COLORS) > 20 and page.get_by_role("button", name="I believe it").is_disabled()
        assert said(page)["answers"][i] is bool(i % 2) and f" of {i + 1} right." in page.locator("figure").inner_text()
        page.get_by_role("button", name="Next case").click()
    assert said(page)["shown"] == 0 and page.evaluate(COLORS) > 20, "what was seen stays seen"


def test_keyboard_and_finger_on_a_phone(page_of):      # noqa: F811
    page = page_of(*saved_figures("23_cli"), width=390, dark=True, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert faults_and_doubts(page) == []
    page.get_by_role("button", name="I don't").focus()
    page.keyboard.press("Enter")
    assert said(page)["answers"][0] is False
    page.keyboard.press("Enter")
    assert said(page)["shown"] == 1, "the focus went on to the next case"
    page.get_by_role("button", name="I believe it").tap()
    assert said(page)["answers"][1] is True
