"""A training in sessions (lesson 22), in a real browser: as many versions and weeks as `seconds_left` allows."""
import itertools

import pytest

from covid_nbdev.kaggle import seconds_left
from test_play import faults_and_doubts, holds_the_present_files, page_of, said, saved_figures, slide      # noqa: F401 (a fixture)

pytestmark = pytest.mark.browser
LABELS = "Epochs", "One", "Limit", "Reserve"


def planned(epochs, minutes, hours, reserve):
    fit = int(seconds_left(0, hours, reserve, now=0)/(60*minutes) - .1)       # train_run begins an epoch if 1.1 of it fit
    return [min(fit, epochs - done) for done in range(0, epochs, fit)] if fit else []


def weeks(lengths):
    week, left = 1, 30
    for length in lengths:
        if length > left: week, left = week + 1, 30
        left -= length
    return week


def test_versions_and_weeks(page_of):      # noqa: F811
    [html] = saved_figures("22_kaggle")
    holds_the_present_files(html, "sessions", "22_kaggle")
    page = page_of(html)
    tried = itertools.product((1, 40, 120), (7, 60, 240), (4, 12), (0, 20))
    for values in [(40, 30, 12, 20), *tried]:
        now, text = slide(page, **dict(zip(LABELS, values)))
        epochs, minutes, hours, reserve = values
        sessions = planned(*values)
        lengths = [n*minutes/60 + reserve/60 for n in sessions]
        assert now["sessions"] == sessions and now["hoursUsed"] == pytest.approx(sum(lengths)), values
        assert now["weeks"] == (weeks(lengths) if sessions else 0)
        assert text.startswith(f"{len(sessions)} version" if sessions else "Not one epoch fits"), text
    page.get_by_role("radio", name="just runs").check()
    assert said(page)["cut"] and "nothing is left" in page.locator("output").inner_text()


def test_keyboard_and_finger_on_a_phone(page_of):      # noqa: F811
    page = page_of(*saved_figures("22_kaggle"), width=390, dark=True, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert faults_and_doubts(page) == []
    page.get_by_role("slider", name="Epochs").focus()
    before = said(page)["epochs"]
    page.keyboard.press("ArrowRight")
    assert said(page)["epochs"] == before + 1
    page.get_by_role("radio", name="just runs").tap()
    assert not said(page)["careful"]
