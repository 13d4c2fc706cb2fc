"""The tables of lesson 15: complete, in agreement with each other, and made again where that is quick."""
import sys

import pandas as pd
import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT/"benchmarks"))
import overfit


@pytest.fixture(scope="module")
def tables(): return [pd.read_csv(overfit.TABLES/f"{name}.csv", comment="#", dtype={"arm": str}) for name in ("overfit_curves", "overfit")]


def test_complete_and_summed_up(tables):
    curves, ends = tables
    assert set(zip(ends.arm, ends.seed)) == {(arm, seed) for arm in overfit.ARMS for seed in range(3)}
    assert (curves.groupby(["arm", "seed"]).step.apply(list).map(lambda steps: steps == list(range(20, 321, 20)))).all()
    pd.testing.assert_frame_equal(overfit.summary(curves).round(4), ends, check_dtype=False)


def test_early_stop():
    assert overfit.early_stop([.9, .7, .6, .65, .62, .61, .58], 3) == (2, 5) and overfit.early_stop([.9, .7, .6, .65, .62, .61, .58], 4) == (6, 6)


@pytest.mark.slow
def test_one_training_again(tables):
    "Its first look, on fewer fresh patients: the own score must agree."
    learn = overfit.patients(range(8), overfit.SIDE)
    shipped = tables[0].query("arm == '8' and seed == 0").iloc[:1]
    again = overfit.train("8", 0, learn, {}, steps=20)
    assert [row["own_loss"] for row in again] == pytest.approx(shipped.own_loss.tolist(), rel=.02)
