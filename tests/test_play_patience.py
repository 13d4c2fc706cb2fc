"""Early stopping to play with: for every patience the figure stops and keeps what `fit` would."""
import numpy as np
import pandas as pd
import pytest
from importlib.resources import files

from covid_nbdev.play import playable
from test_play import page_of, said          # noqa: F401: a fixture, and what the page told

pytestmark = pytest.mark.browser


def ended(losses, patience):
    best = stale = 0
    for i, loss in enumerate(losses):
        stale += 1
        if i == 0 or loss < losses[best]: best, stale = i, 0
        if stale == patience: break
    return i + 1, best + 1


def test_stops_and_keeps_as_the_trainer_does(page_of):
    "The book's three trainings, by keyboard, on a narrow dark page."
    book = pd.read_csv(files("covid_nbdev")/"tables"/"book_history.csv", comment="#")
    runs = [dict(group="the book's", seed=int(seed), loss=run.fresh_loss.tolist(), lesions=run.fresh_lesion_miou.tolist(), lr=[1.]*len(run))
            for seed, run in book.groupby("seed")]
    page = page_of(playable("patience", {"runs": runs, "patience": 1}, np.zeros((9, 9), np.uint8), "alt", "caption"), width=390, dark=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for seed, run in enumerate(runs):
        page.get_by_role("radio", name=f"seed {seed}").check()
        page.get_by_role("slider", name="Patience").press("Home")
        for patience in range(1, len(run["loss"]) + 1):
            stop, kept = ended(run["loss"], patience)
            whole = ended(run["loss"], None)[1]
            assert said(page) == dict(group="the book's", seed=seed, patience=patience, stopped=stop, kept=kept, whole=whole)
            assert f"Keeps epoch {kept}:" in page.locator("output").inner_text()
            page.keyboard.press("ArrowRight")
