"""The book's run: the network that the package ships is the one of its table, and it beats the thresholds in each seed."""
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
import torch

from conftest import ROOT
from covid_nbdev.evidence import paired_difference
from covid_nbdev.hu import window
from covid_nbdev.kaggle import make_wheel
from covid_nbdev.phantom import make_slice, PHANTOM_VERSION
from covid_nbdev.unet import book_network

TABLES = files("covid_nbdev")/"tables"
LESIONS = ("ground_glass", "consolidation")


def table(name): return pd.read_csv(TABLES/f"{name}.csv", comment="#")


def lesion_miou(rows):
    n = rows.sum(numeric_only=True)
    return np.mean([n[f"tp_{c}"]/(n[f"tp_{c}"] + n[f"fp_{c}"] + n[f"fn_{c}"]) for c in LESIONS])


def test_the_shipped_network_gives_the_tables_pixels():
    "Five of the forty patients again. (Another CPU, another last digit: a few pixels may differ.)"
    shipped = table("book").query("predictor == 'network' and seed == 0").set_index("patient")
    network = book_network()
    for patient in (1000, 1007, 1019, 1026, 1039):
        hu, true = make_slice(patient, 128, style="medseg")
        with torch.no_grad(): pred = network(torch.from_numpy(window(hu, -600, 1500))[None, None]).argmax(1)[0].numpy()
        for c, name in enumerate(LESIONS):
            found = [((pred == c) & (true == c)).sum(), ((pred == c) & (true != c)).sum(), ((pred != c) & (true == c)).sum()]
            assert np.allclose(found, [shipped.loc[patient, f"{what}_{name}"] for what in ("tp", "fp", "fn")], atol=6)


def test_beats_the_thresholds_in_three_seeds_of_three():
    every = table("book")
    rival, networks = every[every.predictor == "thresholds"], every[every.predictor == "network"]
    assert rival.patient.tolist() == [*range(1000, 1040)] and sorted(networks.seed.unique()) == [0, 1, 2]
    for _, rows in networks.groupby("seed"):
        assert rows.patient.tolist() == rival.patient.tolist() and lesion_miou(rows) > lesion_miou(rival)
        d, (low, high), p = paired_difference(rows.any_lesion_iou.to_numpy(), rival.any_lesion_iou.to_numpy())
        assert low > 0 and p < .01


def test_history_ends_where_the_table_is():
    last = table("book_history").groupby("seed").last()
    for seed, rows in table("book").query("predictor == 'network'").groupby("seed"):
        assert lesion_miou(rows) == pytest.approx(last.loc[seed, "fresh_lesion_miou"], abs=1e-3)


def test_tables_say_where_they_come_from():
    for file in sorted((ROOT/"covid_nbdev"/"tables").glob("*.csv")):
        first, second = file.read_text(encoding="utf-8").splitlines()[:2]
        script = first.removeprefix("# ").split(",")[0].split()[0]
        assert script.startswith("benchmarks/") and (ROOT/script).is_file(), file.name
        assert "seed" in first and f"phantom version {PHANTOM_VERSION}" in first, f"{file.name}: another phantom, other numbers"
        assert second.startswith("# 20"), file.name


def test_the_kernel_carries_no_weights():
    assert b"book.safetensors" not in make_wheel("covid_nbdev")[1] and (files("covid_nbdev")/"book.safetensors").is_file()
