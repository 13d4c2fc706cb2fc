"""What the scripts that fill covid_nbdev/tables have in common: lesson 00's patients, input and loop, and how a table is written."""
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from covid_nbdev.core import atomic_file
from covid_nbdev.hu import window
from covid_nbdev.phantom import make_slice, PHANTOM_VERSION

TABLES = Path(__file__).resolve().parent.parent/"covid_nbdev"/"tables"


def patients(seeds, side: int) -> list: return [make_slice(seed, side, style="medseg") for seed in seeds]


def as_tensors(slices):
    "Gray values (N, 1, S, S) float32 and classes (N, S, S) int64 of pairs (hu, labels)."
    images = np.stack([window(hu, -600, 1500) for hu, _ in slices])
    return torch.from_numpy(images)[:, None], torch.from_numpy(np.stack([labels for _, labels in slices])).long()


@torch.no_grad()
def logits_of(network, images):
    network.eval()
    return torch.cat([network(batch) for batch in images.split(8)])


def train_step(network, optimizer, images, truth, weight=None) -> float:
    "One step down; the loss before it. `weight`: of each class in the loss; None: all the same."
    loss = cross_entropy(network(images), truth, weight)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def train_epoch(network, optimizer, schedule, images, truth, batch: int, weight=None) -> list[float]:
    "One pass over all slices in random order; the losses."
    network.train()
    losses = []
    for rows in torch.randperm(len(images)).split(batch):
        losses.append(train_step(network, optimizer, images[rows], truth[rows], weight))
        schedule.step()
    return losses


def write_table(name: str, about: str, table, digits=4) -> None:
    "A table of the package; `about` names the script and its seeds, and stands with the phantom's version and the date above it."
    TABLES.mkdir(exist_ok=True)
    head = f"# benchmarks/{about}, phantom version {PHANTOM_VERSION}\n# {time.strftime('%Y-%m-%d')}\n"
    with atomic_file(TABLES/name) as tmp: Path(tmp).write_text(head + pd.DataFrame(table).round(digits).to_csv(index=False), encoding="utf-8")
