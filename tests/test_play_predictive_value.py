"""A thousand people and a test (lesson 21), in a real browser: whole people, and the two predictive values."""
import re

import pytest

from test_play import faults_and_doubts, holds_the_present_files, page_of, said, saved_figures, slide      # noqa: F401 (a fixture)

pytestmark = pytest.mark.browser


def counted(ill, sensitivity, specificity):
    found, alarms = int(ill*sensitivity/100 + .5), int((1000 - ill)*(100 - specificity)/100 + .5)
    return [found, ill - found, alarms, 1000 - ill - alarms]


def test_whole_people(page_of):      # noqa: F811
    [html] = saved_figures("21_care")
    holds_the_present_files(html, "predictive_value", "21_care")
    page = page_of(html)
    assert said(page)["counts"] == counted(10, 87, 78) == [9, 1, 218, 772]
    assert "227 people, 9 of them ill: 4 %" in page.locator("output").inner_text()
    for ill, sensitivity, specificity in ((1, 0, 100), (200, 87, 78), (600, 100, 0)):
        now, _ = slide(page, Ill=ill, Sensitivity=sensitivity, Specificity=specificity)
        found, missed, alarms, negative = counted(ill, sensitivity, specificity)
        assert now["counts"] == [found, missed, alarms, negative] and sum(now["counts"]) == 1000
        assert now["ppv"] == (pytest.approx(found/(found + alarms)) if found + alarms else None)
        assert now["npv"] == (pytest.approx(negative/(missed + negative)) if missed + negative else None)
        for kind, shown in (("everybody", 1000), ("the positive", found + alarms), ("the negative", missed + negative)):
            page.get_by_role("radio", name=kind).check()
            drawn = sum(len(re.findall("M", d)) for d in page.locator("figure svg path").evaluate_all("p => p.map(e => e.getAttribute('d'))"))
            assert drawn == shown, kind


def test_keyboard_and_finger_on_a_phone(page_of):      # noqa: F811
    page = page_of(*saved_figures("21_care"), width=390, dark=True, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert faults_and_doubts(page) == []
    page.get_by_role("slider", name="Ill among").focus()
    page.keyboard.press("ArrowRight")
    assert said(page)["ill"] == 11
    page.get_by_role("button").last.tap()
    assert (said(page)["ill"], said(page)["sensitivity"], said(page)["specificity"]) == (10, 94, 37)
