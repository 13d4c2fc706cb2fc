"""Three programs that do one job (lesson 05), in a real browser: their memory, and what a stopped one leaves behind."""
import pytest

from test_play import page_of, said, saved_figures      # noqa: F401 (a fixture)


@pytest.fixture(scope="module")
def html():
    "As the lesson saved it."
    return next(html for html in saved_figures("05_etl") if 'play="stream"' in html)


def stopped_after(page, way: str, steps: int) -> dict:
    page.get_by_role("radio", name=way, exact=True).check()
    for _ in range(steps): page.get_by_role("button", name="Next step").click()
    page.get_by_role("button", name="Stop the program").click()
    return said(page)


def test_what_is_left(page_of, html):      # noqa: F811
    page = page_of(html)
    n = said(page)["memory"] or page.locator("figure p").first.inner_text().split()[-2]
    half, none = "takes it for a whole one", "Nothing is left"
    text = lambda: page.locator("figure").inner_text()      # noqa: E731
    found = stopped_after(page, "All at once", 5)
    assert (found["most"], found["written"], found["folder"]) == (5, 0, "") and none in text()
    found = stopped_after(page, "One at a time", 5)
    assert (found["most"], found["written"], found["folder"]) == (1, 5, "store") and f"5 of {n} slices" in text() and half in text()
    found = stopped_after(page, "One at a time, named at the end", 5)
    assert (found["most"], found["written"], found["folder"]) == (1, 0, "") and none in text()


def test_to_the_end_by_keyboard_on_a_phone(page_of, html):      # noqa: F811
    page = page_of(html, width=390, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    from axe_playwright_python.sync_playwright import Axe
    assert Axe().run(page).response["violations"] == []
    page.get_by_role("radio", name="All at once").focus()
    page.keyboard.press("ArrowDown"); page.keyboard.press("ArrowDown")
    page.get_by_role("button", name="Next step").focus()
    folders = []
    while not said(page)["done"]:
        page.keyboard.press("Enter")
        folders.append(said(page)["folder"])
    assert set(folders[:-1]) == {".store-temporary"} and folders[-1] == "store" and said(page)["most"] == 1
    assert page.get_by_role("button", name="Stop the program").is_disabled()
