"""What turning, mirroring and jitter do to a network that finds lesions: the book's, trained on for one more epoch in four ways.

    python benchmarks/augment_trained.py             three seeds, about 6 minutes on one core
    python benchmarks/augment_trained.py --write     and write covid_nbdev/tables/augment.csv

Everything is fixed before training. Each training starts from the book's weights and sees its 192 patients (seeds 0 to 191)
once; a recipe changes one thing alone, and nobody crops. Judged on the book's 40 fresh patients (1000 to 1039) in
four ways: as they are, mirrored, upside down (turned by 180 degrees), and with a gain from 0.85 to 1.15 and an offset from
-75 to 75 HU, drawn once for each patient. The seeds stand for order and augmentation; the first weights are the same, so
the spread between seeds is smaller than between trainings from scratch.
"""
import argparse

import numpy as np
import torch

from book import FRESH, SIDE, TRAIN
from common import as_tensors, logits_of, patients, train_step, write_table
from covid_nbdev.augment import JitterHU, seed_transforms, train_transforms
from covid_nbdev.core import progress_bar
from covid_nbdev.metrics import ConfusionMatrix
from covid_nbdev.unet import book_network

EPOCHS, BATCH, LR, SEEDS = 1, 8, 2e-3, (0, 1, 2)
JITTER = dict(gain=.15, offset_hu=75.)
RECIPES = {"none": {}, "mirror": dict(flip=.5), "full circle": dict(rotate=180), "jitter": JITTER}


def judged_in(slices):
    "The fresh patients in four ways: name, slices."
    scale = JitterHU(**JITTER)
    scale.set_random_seed(0)
    yield "as they are", slices
    yield "mirrored", [(hu[:, ::-1], labels[:, ::-1]) for hu, labels in slices]
    yield "upside down", [(hu[::-1, ::-1], labels[::-1, ::-1]) for hu, labels in slices]
    yield "another scale", [(scale(image=hu.astype(np.float32))["image"], labels) for hu, labels in slices]


def train(recipe, seed: int, slices):
    "The book's network, trained on with this augmentation."
    network = book_network().to(memory_format=torch.channels_last)
    transforms = train_transforms(SIDE, SIDE, **dict(rotate=0, flip=0, smallest_crop=1) | recipe)
    optimizer, steps = torch.optim.Adam(network.parameters()), EPOCHS*len(slices)//BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LR, total_steps=steps)
    network.train()
    for epoch in range(EPOCHS):
        for rows in np.random.default_rng([seed, epoch]).permutation(len(slices)).reshape(-1, BATCH):
            batch = []
            for i in rows.tolist():
                seed_transforms(transforms, seed, epoch, i)
                out = transforms(image=slices[i][0].astype(np.float32), mask=slices[i][1])
                batch.append((out["image"], out["mask"]))
            train_step(network, optimizer, *as_tensors(batch))
            schedule.step()
    return network


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--write", action="store_true", help="write the table, too")
    a = p.parse_args()
    learn, fresh = (patients(seeds, SIDE) for seeds in (TRAIN, FRESH))
    judged, rows = {name: as_tensors(slices) for name, slices in judged_in(fresh)}, []

    def judge(recipe, seed, network):
        for position, (images, truth) in judged.items():
            iou = ConfusionMatrix().update(logits_of(network, images).argmax(1), truth).iou()
            rows.append(dict(recipe=recipe, seed=seed, judged=position, ground_glass=iou[0], consolidation=iou[1], lesion_miou=iou[:2].mean()))
        print(f"{recipe:11} seed {seed}: " + ", ".join(f"{r['judged']} {r['lesion_miou']:.3f}" for r in rows[-len(judged):]), flush=True)

    judge("before", -1, book_network())
    for seed, name in progress_bar([(seed, name) for seed in SEEDS for name in RECIPES]):
        judge(name, seed, train(RECIPES[name], seed, learn))
    if a.write: write_table("augment.csv", f"augment_trained.py, seeds {list(SEEDS)}, {EPOCHS} epoch from the book's weights", rows)


if __name__ == "__main__": main()
