"""Early stopping under a one-cycle schedule, and why a validation loss jumps: the history that lesson 14 plays with.

    python benchmarks/patience.py               two learning rates, three seeds each, 30 epochs: about 6 minutes on one core
    python benchmarks/patience.py --write       and write covid_nbdev/tables/patience.csv

Everything was fixed before the first run: 48 computed patients to learn from (seeds 0 to 47), 16 to validate on (1000 to
1015), 64 x 64 pixels, lesson 00's network, batches of 8, cross-entropy, Adam, one-cycle; the largest rate is the book's
(0.005) or four times that. No run is left out. `batch_loss` is the loss of the same weights on the same validation
slices in batches of 8, with the statistics of each batch instead of the running ones.
"""
import argparse, copy, time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader, TensorDataset

from covid_nbdev.augment import Loaders
from covid_nbdev.core import atomic_file
from covid_nbdev.hu import window
from covid_nbdev.phantom import PHANTOM_VERSION, make_slice
from covid_nbdev.train import TrainConfig, fit
from covid_nbdev.unet import UNet

TABLE = Path(__file__).resolve().parent.parent/"covid_nbdev"/"tables"/"patience.csv"
RATES, SEEDS, EPOCHS, SIDE = (.005, .02), (0, 1, 2), 30, 64


def slices(seeds) -> TensorDataset:
    pairs = [make_slice(seed, SIDE, style="medseg") for seed in seeds]
    images, labels = (np.stack(arrays) for arrays in zip(*pairs))
    return TensorDataset(torch.from_numpy(window(images, -600, 1500))[:, None], torch.from_numpy(labels).long())


class BatchStatistics:
    "A callback: the loss of a copy of the network that normalizes with the statistics of each batch."
    def __init__(self): self.losses = []
    @torch.no_grad()
    def after_epoch(self, learn):
        twin = copy.deepcopy(learn.model).train()
        sums = [(learn.loss_fn(twin(x), y).item()*len(x), len(x)) for x, y in learn.loaders.valid]
        self.losses.append(sum(s for s, _ in sums)/sum(n for _, n in sums))


def run(rate: float, seed: int, train, valid, epochs: int = EPOCHS) -> pd.DataFrame:
    torch.manual_seed(seed)
    network, twin = UNet(upsample="nearest"), BatchStatistics()
    loaders = Loaders(DataLoader(train, batch_size=8, shuffle=True), DataLoader(valid, batch_size=8), None)
    history = fit(network, loaders, TrainConfig(epochs=epochs, size=SIDE, lr=rate, precision="fp32"), [twin])
    return history.drop(columns="seconds").assign(rate=rate, seed=seed, batch_loss=twin.losses)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--write", action="store_true", help="write the table that the package ships")
    a = p.parse_args()
    train, valid = slices(range(48)), slices(range(1000, 1016))
    tables = []
    for rate in RATES:
        for seed in SEEDS:
            tables.append(table := run(rate, seed, train, valid))
            print(table.round(4).to_string(), flush=True)
    if not a.write: return
    TABLE.parent.mkdir(exist_ok=True)
    head = (f"# benchmarks/patience.py, seeds {SEEDS}, {EPOCHS} epochs, phantom version {PHANTOM_VERSION}\n"
            f"# {time.strftime('%Y-%m-%d')}\n")
    with atomic_file(TABLE) as tmp: Path(tmp).write_text(head + pd.concat(tables).round(5).to_csv(index=False), encoding="utf-8")


if __name__ == "__main__": main()
