"""Lesson 13's four optimizers on a small U-Net: a learning rate chosen for each, then three other seeds at that rate.

    python benchmarks/optimizers.py             goes on where it stopped; about 15 minutes on one core
    python benchmarks/optimizers.py --one       the first row again, printed beside what is shipped

Fixed before training: patients (seeds 0 to 95 to learn from, 500 to 523 to choose the rate, 1000 to 1039 fresh ones that choose
nothing), 64 by 64, batches of 4, 8 epochs, the last of which counts. All four follow the same one-cycle of the learning rate;
its largest rate is chosen per rule, on seed 0, by the lowest loss on the patients for choosing: three rates a factor of
√10 apart, and further ones in the direction of the best until the best is no end of the grid. Then seeds 1, 2, 3 at that rate.
A seed sets first weights and order; within one seed all rules begin alike. Writes covid_nbdev/tables/optimizers.csv, row by row.
"""
import argparse, time

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from common import as_tensors, logits_of, patients, TABLES, train_epoch, write_table
from covid_nbdev.adam import Adam, Momentum, RMSProp, SGD
from covid_nbdev.metrics import ConfusionMatrix
from covid_nbdev.unet import UNet

TABLE = TABLES/"optimizers.csv"
LEARN, CHOOSE, FRESH, SIDE = range(96), range(500, 524), range(1000, 1040), 64
EPOCHS, BATCH, FIRST_SEED, SEEDS = 8, 4, 0, (1, 2, 3)
RULES = {"SGD": (SGD, -1.), "Momentum": (Momentum, -2.), "RMSProp": (RMSProp, -3.), "Adam": (Adam, -2.5)}   # log10 of the lowest


def judged(network, images, truth):
    "Loss and lesion mIoU, pooled."
    logits = logits_of(network, images)
    return cross_entropy(logits, truth).item(), ConfusionMatrix().update(logits.argmax(1), truth).miou((0, 1))


def trained(name: str, lr: float, seed: int, data, epochs=EPOCHS) -> dict:
    "One row: loss of each epoch's minibatches, then loss and lesion mIoU of the patients for choosing and of the fresh ones."
    images, truth = data["learn"]
    torch.manual_seed(seed)
    network = UNet(upsample="nearest").to(memory_format=torch.channels_last)
    optimizer, began, losses = RULES[name][0](network.parameters(), lr=lr), time.process_time(), []
    steps = epochs*len(images)//BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=steps, cycle_momentum=False)
    for _ in range(epochs): losses.append(train_epoch(network, optimizer, schedule, images, truth, BATCH))
    row = dict(rule=name, lr=lr, seed=seed, first_loss=losses[0][0])
    row |= {f"loss_{epoch}": np.mean(values) for epoch, values in enumerate(losses, start=1)}
    for which in ("choose", "fresh"): row[f"{which}_loss"], row[f"{which}_lesion_miou"] = judged(network, *data[which])
    return row | dict(core_seconds=time.process_time() - began)


def next_run(table: pd.DataFrame):
    "The first (rule, rate, seed) that is still missing; None when all are there."
    for name, (_, lowest) in RULES.items():
        done = table[table.rule == name]
        tried = {round(2*np.log10(row.lr)): row.choose_loss for row in done[done.seed == FIRST_SEED].itertuples()}
        wanted = range(round(2*lowest), round(2*lowest) + 3)
        if missing := [k for k in wanted if k not in tried]: return name, 10**(missing[0]/2), FIRST_SEED
        best = min(tried, key=lambda k: tried[k] if np.isfinite(tried[k]) else np.inf)
        for k in (best - 1, best + 1):
            if k not in tried: return name, 10**(k/2), FIRST_SEED
        for seed in SEEDS:
            if seed not in set(done.seed): return name, 10**(best/2), seed
    return None


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--one", action="store_true", help="the first row again, nothing written")
    a = p.parse_args()
    torch.set_num_threads(1)
    table = pd.read_csv(TABLE, comment="#") if TABLE.exists() else pd.DataFrame(columns=["rule", "lr", "seed", "choose_loss"])
    data = {name: as_tensors(patients(seeds, SIDE)) for name, seeds in (("learn", LEARN), ("choose", CHOOSE), ("fresh", FRESH))}
    if a.one:
        first = table.iloc[0]
        print(pd.DataFrame([first.to_dict(), trained(first.rule, first.lr, int(first.seed), data)]).T.to_string())
        return
    about = (f"optimizers.py, rates chosen on seed {FIRST_SEED}, then seeds {SEEDS}, {EPOCHS} epochs of {len(LEARN)} patients "
             f"of {SIDE}x{SIDE}, batches of {BATCH}")
    while run := next_run(table):
        row = trained(*run, data)
        table = pd.DataFrame([*table.to_dict("records"), row])
        write_table(TABLE.name, about, table, digits=5)
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True)


if __name__ == "__main__": main()
