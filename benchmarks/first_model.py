"""Lesson 00's training with three seeds: how far chance moves its score.

    python benchmarks/first_model.py            three seeds, a minute each on one core
    python benchmarks/first_model.py --write    and write covid_nbdev/tables/first_model.csv

The cells are the lesson's own, read from its notebook: what is measured is what is shown. Patients 0 to 191 to learn from,
1000 to 1023 fresh ones, which decide nothing: the last epoch is kept. Other numbers of threads give slightly other numbers.
"""
import argparse, contextlib, io, json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, cross_entropy

from common import as_tensors, patients, write_table
from covid_nbdev.masks import CLASSES
from covid_nbdev.metrics import ConfusionMatrix

NOTEBOOK = Path(__file__).resolve().parent.parent/"nbs"/"00_first_model.ipynb"
TRAIN, FRESH, SIDE = range(192), range(1000, 1024), 128
CELLS = "def block(", "class SmallUNet(", "def train_one_epoch(", "def at_side(", "PLAN = "      # in the lesson's order


def train(seed: int, train_slices, fresh_slices, notebook=NOTEBOOK) -> dict:
    "The lesson's cells, run with another seed; the scores on the fresh patients."
    code = ["".join(c["source"]) for c in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    names = dict(np=np, torch=torch, nn=nn, avg_pool2d=avg_pool2d, cross_entropy=cross_entropy, CLASSES=CLASSES, SIDE=SIDE,
                 progress_bar=lambda steps, **_: steps, train=train_slices)
    names["train_images"], names["train_truth"] = as_tensors(train_slices)
    names["fresh_images"], names["fresh_truth"] = as_tensors(fresh_slices)
    for start in CELLS:
        if start == "PLAN = ":
            torch.manual_seed(seed)
            names["network"] = names["SmallUNet"]().to(memory_format=torch.channels_last)
        with contextlib.redirect_stdout(io.StringIO()): exec(next(s for s in code if s.startswith(start)), names)
    pred = names["predict"](names["network"], names["fresh_images"]).argmax(1)
    matrix = ConfusionMatrix().update(pred, names["fresh_truth"])
    ground_glass, consolidation = matrix.iou()[:2]
    return dict(seed=seed, ground_glass=ground_glass, consolidation=consolidation, lesion_miou=matrix.miou((0, 1)), accuracy=matrix.accuracy())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    p.add_argument("--write", action="store_true", help="write the table that the package ships, too")
    a = p.parse_args()
    slices, rows = (patients(TRAIN, SIDE), patients(FRESH, SIDE)), []
    for seed in a.seeds:
        rows.append(train(seed, *slices))
        print({k: round(float(v), 3) for k, v in rows[-1].items()}, flush=True)
    if a.write: write_table("first_model.csv", f"first_model.py, seeds {a.seeds}", rows)


if __name__ == "__main__": main()
