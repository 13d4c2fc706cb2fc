"""Limits of agreement to play with (lesson 18), in a real browser: what it computes is what the library computes."""
import numpy as np
import pytest

from covid_nbdev.core import BadInput
from covid_nbdev.extent import agreement, agreement_by_size
from covid_nbdev.play import playable
from test_play import page_of, said      # noqa: F401 (a fixture)

pytestmark = pytest.mark.browser


def test_what_it_shows_is_what_the_library_computes(page_of):      # noqa: F811
    "By keyboard, on a narrow dark page."
    rng = np.random.default_rng(0)
    truth, chance = rng.uniform(2, 75, 40).round(2), rng.normal(size=40).round(3)
    data = {"truth": truth.tolist(), "chance": chance.tolist(), "mean": 3, "scatter": 0, "grows": 25}
    page = page_of(playable("agreement", data, np.full((60, 90), 255), "Errors over size.", "Set the sliders."), width=390, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390

    def agrees():
        found = said(page)
        measured = (truth + found["mean"] + (found["scatter"] + found["grows"]/100*truth)*chance).clip(0, 100)
        one = agreement(measured, truth)
        assert found["one"] == pytest.approx([one["low"], one["high"]]) and found["correlation"] == pytest.approx(np.corrcoef(measured, truth)[0, 1])
        assert f"Correlation {found['correlation']:.2f}" in page.locator("output").inner_text()
        try: lines = agreement_by_size(measured, truth)
        except BadInput: assert found["lines"] is None and "one pair is the better choice" in page.locator("figure").inner_text()
        else: np.testing.assert_allclose(found["lines"], [lines["low"], lines["high"]], atol=1e-6)
        return found

    assert agrees()["lines"]
    for name, key, times in (("Mean error", "ArrowRight", 3), ("Scatter everywhere", "ArrowRight", 6), ("Scatter that grows", "Home", 1)):
        slider = page.get_by_role("slider", name=name)
        for _ in range(times): slider.press(key)
        agrees()
    page.get_by_role("slider", name="Scatter everywhere").press("Home")
    page.get_by_role("slider", name="Mean error").press("End")
    found = agrees()
    assert found["mean"] == 20 and found["correlation"] > .99
