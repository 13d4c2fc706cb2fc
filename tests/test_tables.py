"""One row of each table that takes minutes to make, made again by its own script: python tools/slow.py tables, or pytest -m table.
(The other tables: tests/test_book.py, test_leaks.py, test_overfit.py.) Another CPU rounds otherwise, so networks end a little elsewhere."""
import sys

import pandas as pd
import pytest
import torch

from conftest import ROOT

sys.path.insert(0, str(ROOT/"benchmarks"))
pytestmark = pytest.mark.table


def shipped(name: str, **which) -> dict:
    "The table's only row with these values."
    table = pd.read_csv(ROOT/"covid_nbdev"/"tables"/f"{name}.csv", comment="#")
    for column, value in which.items(): table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0].to_dict()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_skips():
    "With skip connections, seed 0."
    import skips
    network, loss = skips.train(skips.UNet, 0, *skips.as_tensors(skips.patients(skips.TRAIN, skips.SIDE)))
    again = skips.judge(network, *skips.as_tensors(skips.patients(skips.FRESH, skips.SIDE)))
    row = shipped("skips", skips="with", seed=0)
    assert loss == pytest.approx(row["train_loss"], rel=.05)
    for name in ("lesion_miou", "lungs_other", "background", "wrong_at_border", "wrong_elsewhere", "border_share"):
        assert again[name] == pytest.approx(row[name], abs=.04), name


def test_ladder(monkeypatch):
    "U-Net's first seed, with as many steps as fitted into its seconds then: the clock goes at that pace. And the thresholds, exactly."
    import ladder
    *learn, slices = ladder.data(ladder.TRAIN)
    judge = ladder.data(ladder.FRESH)
    row, again = shipped("ladder", network="two thresholds"), ladder.thresholds(slices, judge)
    for name in ("ground_glass", "consolidation", "lesion_miou"): assert again[name] == pytest.approx(row[name], abs=1e-4)
    row = shipped("ladder", stage="ladder", network="U-Net", seed=0)
    ticks = iter(range(10**6))
    monkeypatch.setattr(ladder.time, "process_time", lambda: next(ticks)*row["cpu_seconds"]/row["steps"])
    again = ladder.run("ladder", "U-Net", 0, row["rate"], ladder.SECONDS, learn, judge[:2])
    assert abs(again["steps"] - row["steps"]) <= 1 and again["parameters"] == row["parameters"]
    assert again["train_loss"] == pytest.approx(row["train_loss"], rel=.1)
    for name in ("own_lesion_miou", "lesion_miou"): assert again[name] == pytest.approx(row[name], abs=.08), name


def test_optimizers():
    "Adam's chosen rate, seed 1: each epoch's loss, and the scores."
    import optimizers
    chosen = pd.read_csv(optimizers.TABLE, comment="#").query("rule == 'Adam' and seed == 1").lr.item()
    row = shipped("optimizers", rule="Adam", seed=1, lr=chosen)
    data = {name: optimizers.as_tensors(optimizers.patients(seeds, optimizers.SIDE))
            for name, seeds in (("learn", optimizers.LEARN), ("choose", optimizers.CHOOSE), ("fresh", optimizers.FRESH))}
    again = optimizers.trained("Adam", next(10**(k/2) for k in range(-9, 3) if abs(10**(k/2) - chosen) < 1e-4), 1, data)
    assert again["first_loss"] == pytest.approx(row["first_loss"], abs=1e-4)
    for name in [f"loss_{epoch}" for epoch in range(1, optimizers.EPOCHS + 1)]: assert again[name] == pytest.approx(row[name], rel=.05), name
    for name in ("choose", "fresh"): assert again[f"{name}_lesion_miou"] == pytest.approx(row[f"{name}_lesion_miou"], abs=.05)
