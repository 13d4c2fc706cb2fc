"""The ladder of lesson 12: U-Net, U-Net++, and U-Net++ behind an EfficientNet-b2, each with the same minutes of one core.

    python benchmarks/ladder.py     about 20 minutes of one core; every row is written as it comes, so it can be stopped and resumed

Lesson 00's computed patients (seeds 0 to 191) at 96x96, since b2 halves the side five times. Minutes are the process's
own time on one thread (time.process_time), not the clock's: a busy machine takes no steps away. The one-cycle schedule runs
over the minutes, so each network ends with its small steps, however many it made. First a pilot, with another seed
and 20 other patients (2000 to 2019), gives each network the better of two rates; it is kept in the table. Then three seeds,
judged once, at the end, on 40 fresh patients (1000 to 1039). Nothing is chosen by the fresh patients.
"""
import math, time
from importlib.metadata import version

import numpy as np
import pandas as pd
import torch

from common import as_tensors, logits_of, patients, TABLES, train_step, write_table
from covid_nbdev.metrics import ConfusionMatrix
from covid_nbdev.model import build_model
from covid_nbdev.results import threshold_baseline
from covid_nbdev.unet import UNet, UNetPlusPlus

TABLE = TABLES/"ladder.csv"
RUNGS = {"U-Net": UNet, "U-Net++": UNetPlusPlus, "U-Net++ on b2": build_model}
TRAIN, FRESH, PILOT, SIDE, BATCH = range(192), range(1000, 1040), range(2000, 2020), 96, 8
SEEDS, PILOT_SEED, RATES = (0, 1, 2), 100, (5e-3, 1.5e-3)
SECONDS, PILOT_SECONDS = 90, 45


def data(seeds):
    slices = patients(seeds, SIDE)
    return *as_tensors(slices), slices


def one_cycle(progress: float, highest: float) -> float:
    "The rate at a share of the run, as in OneCycleLR: up over three tenths, down over the rest, along cosines."
    low, high, share = (highest/25, highest, progress/.3) if progress < .3 else (highest/25e4, highest, (1 - progress)/.7)
    return low + (high - low)*(1 - math.cos(math.pi*share))/2


def train(network, images, truth, seconds: float, rate: float):
    "As many steps as fit in the core's seconds."
    optimizer = torch.optim.Adam(network.parameters())
    network.train()
    losses, rows, start = [], [], time.process_time()
    while (used := time.process_time() - start) < seconds:
        for group in optimizer.param_groups: group["lr"] = one_cycle(used/seconds, rate)
        if not rows: rows = list(torch.randperm(len(images)).split(BATCH))
        chosen = rows.pop()
        losses.append(train_step(network, optimizer, images[chosen], truth[chosen]))
    return losses, used


def lesion_ious(network, images, truth) -> list[float]:
    "Of ground glass and consolidation, pooled over the patients."
    return ConfusionMatrix().update(logits_of(network, images).argmax(1), truth).iou()[:2]


def run(stage: str, rung: str, seed: int, rate: float, seconds: float, learn, judge) -> dict:
    torch.manual_seed(seed)
    network = RUNGS[rung]().to(memory_format=torch.channels_last)
    losses, used = train(network, *learn, seconds, rate)
    own, fresh = lesion_ious(network, learn[0][:40], learn[1][:40]), lesion_ious(network, *judge)
    return dict(stage=stage, network=rung, seed=seed, rate=rate, cpu_seconds=round(used, 1), steps=len(losses), seconds_per_step=used/len(losses),
                parameters=sum(p.numel() for p in network.parameters()), train_loss=np.mean(losses[-24:]), own_lesion_miou=np.mean(own),
                ground_glass=fresh[0], consolidation=fresh[1], lesion_miou=np.mean(fresh))


def thresholds(slices, judge) -> dict:
    rival = threshold_baseline([hu for hu, _ in slices], [labels for _, labels in slices])
    ious = ConfusionMatrix().update(np.stack([rival(hu) for hu, _ in judge[2]]), judge[1].numpy()).iou()[:2]
    return dict(stage="ladder", network="two thresholds", seed=-1, parameters=4, ground_glass=ious[0], consolidation=ious[1], lesion_miou=np.mean(ious))


def write(rows):
    about = (f"ladder.py, seeds {SEEDS} (pilot {PILOT_SEED}), {SECONDS} s of one core each (pilot {PILOT_SECONDS} s), {SIDE}x{SIDE}, "
             f"torch {version('torch')}")
    write_table(TABLE.name, about, rows)


def main():
    torch.set_num_threads(1)
    rows = pd.read_csv(TABLE, comment="#").to_dict("records") if TABLE.exists() else []
    has = lambda **want: any(all(row[k] == v for k, v in want.items()) for row in rows)
    def add(row):
        rows.append(row)
        write(rows)
        print({k: row[k] for k in ("stage", "network", "seed", "steps", "rate", "own_lesion_miou", "lesion_miou") if k in row}, flush=True)

    *learn, slices = data(TRAIN)
    pilot, fresh = data(PILOT), data(FRESH)
    if not has(network="two thresholds"): add(thresholds(slices, fresh))
    for rung in RUNGS:
        for rate in RATES:
            if not has(stage="pilot", network=rung, rate=rate): add(run("pilot", rung, PILOT_SEED, rate, PILOT_SECONDS, learn, pilot[:2]))
    for seed in SEEDS:
        for rung in RUNGS:
            if has(stage="ladder", network=rung, seed=seed): continue
            rate = max((row for row in rows if row["stage"] == "pilot" and row["network"] == rung), key=lambda row: row["lesion_miou"])["rate"]
            add(run("ladder", rung, seed, rate, SECONDS, learn, fresh[:2]))


if __name__ == "__main__": main()
