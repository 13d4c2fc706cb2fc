"""The graph that plays in lesson 10: its values and gradients are `Value`'s."""
import numpy as np
import pytest

from covid_nbdev.gradients import Value
from covid_nbdev.play import playable
from test_play import grave_faults, page_of, said

START = dict(w=1, x=2, b=1, y=1, a=2, c=1, u=2, v=0)
LOSSES = {"One weight": ("wxby", lambda w, x, b, y: (w*x + b - y)**2), "A value used twice": ("ac", lambda a, c: (a*(a + c)).relu()),
          "Cross-entropy": ("uv", lambda u, v: -(u.exp()/(u.exp() + v.exp())).log())}


def test_graph(page_of):
    "On a phone, in the dark: inputs by keyboard, each step, the check of a box, and all three graphs."
    page = page_of(playable("graph", {"start": START}, np.full((40, 40), 200), "a graph of numbers", "Play with it."), width=390, dark=True)
    assert not said(page)["gradients"]
    for n in range(8):
        page.get_by_role("button", name="One step back").click()
        now = said(page)
        assert len(now["gradients"]) == n + 1 and page.locator("output").inner_text().startswith(f"grad of {now['node']} = ")
    assert page.get_by_role("button", name="One step back").is_disabled() and "8.00" in page.locator("output").inner_text()
    page.get_by_role("button", name="Clear the gradients").click()
    page.get_by_role("button", name="loss").click()
    assert "not known yet" in page.locator("output").inner_text()
    for name, (letters, loss) in LOSSES.items():
        page.get_by_role("radio", name=name).check()
        page.get_by_role("slider", name=letters[0], exact=True).focus()
        for _ in range(2): page.keyboard.press("ArrowLeft")
        page.get_by_role("button", name="All steps").click()
        values = {k: Value(START[k] - 2*(k == letters[0])) for k in letters}
        result = loss(**values)
        result.backward()
        assert said(page)["values"]["loss"] == pytest.approx(result.data)
        for k, v in values.items(): assert said(page)["gradients"][k] == pytest.approx(v.grad)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert grave_faults(page) == []
