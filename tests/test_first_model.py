"""Lesson 00: the table of its three trainings, and its figure to play with."""
import json, re, sys

import pandas as pd
import pytest

from conftest import ROOT
from test_play import holds_the_present_files, saved_figures

sys.path.insert(0, str(ROOT/"benchmarks"))
import first_model


@pytest.fixture(scope="module")
def table(): return pd.read_csv(first_model.NOTEBOOK.parent.parent/"covid_nbdev"/"tables"/"first_model.csv", comment="#")


def test_three_trainings(table):
    assert table.seed.tolist() == [0, 1, 2]
    assert ((table.ground_glass + table.consolidation)/2 - table.lesion_miou).abs().max() < 2e-4


@pytest.mark.table
def test_one_training_again(table):
    "A minute; other numbers of threads give slightly other numbers."
    slices = [first_model.patients(seeds, first_model.SIDE) for seeds in (first_model.TRAIN, first_model.FRESH)]
    assert first_model.train(1, *slices)["lesion_miou"] == pytest.approx(table.lesion_miou[1], abs=.05)


def test_the_lesson_shows_the_present_script():
    html, = saved_figures("00_first_model")
    holds_the_present_files(html, "errors", "00_first_model")
    data = json.loads(re.search(r'<script type="application/json">(.+?)</script>', html, re.S)[1])
    assert [p.split(": ")[1] for p in data["patients"]] == ["worst", "lower quarter", "median", "upper quarter", "best"]
    assert all(1000 <= int(p.split(":")[0]) < 1024 for p in data["patients"]) and len(html) < 300_000
