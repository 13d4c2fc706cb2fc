"""The book's network: lesson 00's, on lesson 00's patients, trained longer than a lesson may, and judged on 40 fresh patients.
With plain cross-entropy and all epochs at full size, where lesson 00 begins at half the side and weighs the classes.

    python benchmarks/book.py                   three seeds, about 8 minutes each on one core
    python benchmarks/book.py --write           and write what the package ships

Everything is fixed before training: patients (seeds 0 to 191 to learn from, 1000 to 1039 fresh ones), 24 epochs, the last of
which is kept, and seed 0 as the one that is shipped. The rival, two HU thresholds in lungs found automatically, is
fitted on the same 192 patients. What is shipped: covid_nbdev/book.safetensors, and in covid_nbdev/tables book.csv (pixels
found, false and missed, per patient) and book_history.csv (per epoch). Other numbers of threads give slightly other ones.
"""
import argparse

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

from common import as_tensors, logits_of, patients, TABLES, train_epoch, write_table
from covid_nbdev.core import atomic_file, progress_bar
from covid_nbdev.evidence import paired_difference
from covid_nbdev.metrics import ConfusionMatrix
from covid_nbdev.results import threshold_baseline
from covid_nbdev.unet import UNet

TRAIN, FRESH, SIDE = range(192), range(1000, 1040), 128
EPOCHS, BATCH, LR = 24, 8, 5e-3


def train(seed: int, images, truth, fresh_images, fresh_truth, epochs=EPOCHS):
    "Lesson 00's loop. The fresh patients are looked at after each epoch and decide nothing."
    torch.manual_seed(seed)
    network = UNet(upsample="nearest").to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LR, total_steps=epochs*len(images)//BATCH)
    history = []
    for epoch in progress_bar(range(1, epochs + 1), desc=f"seed {seed}", unit="epoch"):
        losses = train_epoch(network, optimizer, schedule, images, truth, BATCH)
        logits = logits_of(network, fresh_images)
        lesions = ConfusionMatrix().update(logits.argmax(1), fresh_truth).miou((0, 1))
        history.append(dict(seed=seed, epoch=epoch, train_loss=np.mean(losses), fresh_loss=cross_entropy(logits, fresh_truth).item(),
                            fresh_lesion_miou=lesions))
    return network, history


def pixels(pred, true) -> dict:
    "Per lesion class: found, false and missed pixels of one slice."
    return {f"{what}_{name}": int(found.sum()) for name, c in (("ground_glass", 0), ("consolidation", 1))
            for what, found in (("tp", (pred == c) & (true == c)), ("fp", (pred == c) & (true != c)), ("fn", (pred != c) & (true == c)))}


def lesion_miou(table: pd.DataFrame) -> float:
    "Pooled over the rows: the mean of both lesions' IoU."
    n = table.sum(numeric_only=True)
    return float(np.mean([n[f"tp_{c}"]/(n[f"tp_{c}"] + n[f"fp_{c}"] + n[f"fn_{c}"]) for c in ("ground_glass", "consolidation")]))


def any_lesion_iou(pred, true) -> float:
    union = ((pred < 2) | (true < 2)).sum()
    return float(((pred < 2) & (true < 2)).sum()/union) if union else 1.


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    p.add_argument("--write", action="store_true", help="write what the package ships, too")
    a = p.parse_args()
    learn, fresh = (patients(seeds, SIDE) for seeds in (TRAIN, FRESH))
    thresholds = threshold_baseline([hu for hu, _ in learn], [labels for _, labels in learn])
    truth = np.stack([labels for _, labels in fresh])
    answers = {("thresholds", -1): np.stack([thresholds(hu) for hu, _ in fresh])}
    history, images, fresh_images = [], as_tensors(learn), as_tensors(fresh)
    for seed in a.seeds:
        network, rows = train(seed, *images, *fresh_images)
        history += rows
        answers["network", seed] = logits_of(network, fresh_images[0]).argmax(1).numpy()
        if a.write and seed == 0:
            with atomic_file(TABLES.parent/"book.safetensors") as tmp:
                save_file({k: v.contiguous() for k, v in network.state_dict().items()}, tmp, {"made_by": "benchmarks/book.py, seed 0"})
    table = pd.DataFrame([dict(predictor=name, seed=seed, patient=patient, any_lesion_iou=any_lesion_iou(pred, true), **pixels(pred, true))
                          for (name, seed), preds in answers.items() for patient, pred, true in zip(FRESH, preds, truth)])
    rival = table[table.predictor == "thresholds"]
    print(f"thresholds {thresholds.intervals_hu}: lesion mIoU {lesion_miou(rival):.3f}")
    for seed, rows in table[table.predictor == "network"].groupby("seed"):
        d, (low, high), p = paired_difference(rows.any_lesion_iou.to_numpy(), rival.any_lesion_iou.to_numpy())
        print(f"seed {seed}: lesion mIoU {lesion_miou(rows):.3f}; any-lesion IoU of a patient minus the thresholds': "
              f"{d:+.3f} ({low:+.3f} to {high:+.3f}), p = {p:.4f}")
    if a.write:
        about = f"book.py, seeds {a.seeds}, {EPOCHS} epochs"
        write_table("book.csv", about, table)
        write_table("book_history.csv", about, history)


if __name__ == "__main__": main()
