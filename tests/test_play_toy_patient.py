"""The toy patient (lesson 04) in a real browser: what it shows is replaced air, as the library computes it."""
import numpy as np
import pytest

from covid_nbdev.hu import replaced_hu, window, WINDOWS
from test_play import page_of, pixels, said, saved_figures      # noqa: F401 (a fixture)


@pytest.fixture(scope="module")
def html():
    "As the lesson saved it."
    return next(html for html in saved_figures("04_phantom") if 'play="toy_patient"' in html)


def test_it_shows_replaced_air(page_of, html):      # noqa: F811
    page = page_of(html)
    page.get_by_role("slider", name="Air replaced").fill("90")
    now, gray = said(page), pixels(page)[..., 0]
    assert now["middle_hu"] == pytest.approx(replaced_hu(.9)) and now["brighter"] == pytest.approx(91)
    hu = {(70, 88): replaced_hu(.9), (70, 76): replaced_hu(.9*.6), (62, 40): -850, (10, 64): -1000, (62, 64): 40, (66, 88): 42, (74, 88): -1000}
    for (row, column), value in hu.items(): assert gray[row, column] == pytest.approx(255*window(value, *WINDOWS["lung"]), abs=.6)
    y, x = np.mgrid[:128, :128]
    lung = (((x - 40)/17)**2 + ((y - 62)/28)**2 < 1) | (((x - 88)/17)**2 + ((y - 62)/28)**2 < 1)
    share = .9*np.clip(1.6 - np.hypot(x - 88, y - 70)/12, 0, 1)[lung]
    assert now["consolidation"] == pytest.approx((share > .7).mean()) and now["ground_glass"] == pytest.approx(((share > .15) & (share <= .7)).mean())
    assert "−850 + 0.90 × 890 = −49 HU" in page.locator("figure").inner_text()


def test_keyboard_and_touch_on_a_phone(page_of, html):      # noqa: F811
    page = page_of(html, width=390, dark=True, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    from axe_playwright_python.sync_playwright import Axe
    assert Axe().run(page).response["violations"] == []
    page.locator("canvas").focus()
    page.keyboard.press("Shift+ArrowLeft"); page.keyboard.press("ArrowDown")
    assert (said(page)["x"], said(page)["y"]) == (80, 71)
    page.get_by_role("checkbox").focus(); page.keyboard.press("Space")
    assert said(page)["labels"] and len(np.unique(pixels(page)[71, 80])) > 1      # no longer gray
    page.locator("canvas").tap(position={"x": 60, "y": 90})
    assert said(page)["x"] < 50
