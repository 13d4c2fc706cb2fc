"""How far apart do trainings lie that differ in nothing but the seed? The small run of lesson 16, five times;
and the same without class weights.

    python benchmarks/seeds.py
"""
import tempfile
from pathlib import Path

import numpy as np

from covid_nbdev.etl import build_store
from covid_nbdev.phantom import write_phantom_dataset
from covid_nbdev.report import measure
from covid_nbdev.run import train_run
from covid_nbdev.train import TrainConfig

SEEDS = (42, 0, 1, 2, 3)      # the lesson's own first


def trainings(store, work, weights):
    "Train once for each seed, and print a table."
    print(f"class weights: {weights}\n\n| seed | lesion mIoU | 95 % interval over slices | mIoU |\n|---|---|---|---|")
    found = []
    for seed in SEEDS:
        config = TrainConfig(epochs=8, batch_size=4, size=96, lr=3e-3, patience=8, rotate=10, seed=seed,
                             encoder="efficientnet-b0", loss="ce+dice", class_weights=weights)
        run = work/f"{weights}{seed}"
        train_run(store, run, config, progress=False, on_epoch=None)
        m, _ = measure(run, store, progress=False)
        low, high = m["ci95"]["lesion_miou"]
        found.append(m["lesion_miou"])
        print(f"| {seed} | {m['lesion_miou']:.3f} | {low:.3f} to {high:.3f} | {m['miou']:.3f} |", flush=True)
    print(f"\nstandard deviation of lesion mIoU over seeds {np.std(found, ddof=1):.3f}\n", flush=True)


def main():
    with tempfile.TemporaryDirectory() as tmp:
        work = Path(tmp)
        write_phantom_dataset(work/"raw", n_radiopaedia=16, n_medseg=48, n_test=2, size=96, seed=7)
        store = build_store(work/"raw", work/"store", progress=False)
        for weights in ("balanced", "none"): trainings(store, work, weights)


if __name__ == "__main__": main()
