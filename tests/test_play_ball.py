"""The ball on a loss, in a real browser: it walks as the package's optimizers do, and says what happens."""
import numpy as np
import pytest
import torch

from covid_nbdev.adam import SGD, Adam, Momentum, RMSProp
from covid_nbdev.play import playable

RATES = [.01, .03, .04, .045, .1, .3, .5, 1., 1.1]
RULES = {"SGD": (SGD, {}), "Momentum": (Momentum, {}), "RMSProp": (RMSProp, dict(alpha=.99)), "Adam": (Adam, dict(betas=(.9, .99)))}
LOSSES = {"valley": (lambda w: w[0]**2, [1.]), "ravine": (lambda w: (w[0]**2 + 50*w[1]**2)/2, [-8., 1.2])}
PAGE = """<!doctype html><meta name="viewport" content="width=device-width, initial-scale=1"><script>window.said = {};
document.addEventListener("covid-play", event => { window.said = event.detail })</script>"""


def walked(rule, land, lr, steps):
    loss, start = LOSSES[land]
    w = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer, path = RULES[rule][0]([w], lr=lr, **RULES[rule][1]), [w.tolist()]
    for _ in range(steps):
        optimizer.zero_grad()
        loss(w).backward()
        optimizer.step()
        path.append(w.tolist())
    return path


@pytest.fixture
def open_ball(browser):
    "Opens the figure without animation; nothing may go wrong in it."
    context = browser.new_context(viewport={"width": 390, "height": 1500}, reduced_motion="reduce")
    wrong = []

    def open_page(rules, landscapes, lr):
        page = context.new_page()
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: wrong.append(str(e)))
        data = {"rates": RATES, "lr": lr, "rules": rules, "landscapes": landscapes}
        page.set_content(PAGE + playable("ball", data, np.full((40, 60), 200), "A ball", "Play"))
        page.locator(".covid-play-body").wait_for()
        return page
    yield open_page
    context.close()
    assert wrong == []


def test_it_walks_as_the_optimizers_do(open_ball):
    page = open_ball(list(RULES), ["ravine", "valley"], .1)
    for land in ("ravine: two weights", "valley: one weight"):
        page.get_by_role("radio", name=land).check()
        for rule in RULES:
            page.get_by_role("radio", name=rule).check()
            for lr in ((.04,) if rule == "SGD" else (.3,)):
                page.get_by_role("slider", name="Learning rate").fill(str(RATES.index(lr)))
                page.get_by_role("button", name="Run").click()
                said = page.evaluate("said")
                assert (said["rule"], said["land"], said["lr"]) == (rule, land.split(":")[0], lr)
                assert len(said["path"]) > 2
                path = np.array(said["path"][:31])
                np.testing.assert_allclose(path, walked(rule, said["land"], lr, len(path) - 1), rtol=1e-9, atol=1e-9)


def test_it_says_what_happens(open_ball):
    page = open_ball(["SGD"], ["valley"], .1)
    for _ in range(2): page.get_by_role("button", name="Step").click()
    assert "w = 0.8 \u2212 0.16 = 0.64" in page.locator("figure").inner_text()
    for lr, words in ((.3, "Converges"), (.5, "Converges"), (1., "Bounces from side to side; the loss stays"), (1.1, "Runs away")):
        page.get_by_role("slider", name="Learning rate").fill(str(RATES.index(lr)))
        page.get_by_role("button", name="Run").click()
        assert words in page.locator("output").inner_text()
    stage = page.get_by_role("application")
    page.get_by_role("button", name="Start again").click()
    stage.focus()
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("said.path") == [[pytest.approx(1 - 4.4/50)]]
    box = stage.bounding_box()
    page.mouse.click(box["x"] + box["width"]/4, box["y"] + box["height"]/2)
    assert page.evaluate("said.path") == [[pytest.approx(-1.1, abs=.02)]]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
