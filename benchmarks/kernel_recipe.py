"""Which recipe shall the kernel take? Start, loss, size and a second look in the mirror, compared by folds on real slices.

    python benchmarks/kernel_recipe.py REAL                       REAL: a folder in Kaggle's layout; hours without a GPU
    python benchmarks/kernel_recipe.py REAL --rows none-ce-256 phantom-ce-256 --seeds 0
    python benchmarks/kernel_recipe.py REAL --table               the table of what is measured already
    python benchmarks/kernel_recipe.py REAL --table --write       covid_nbdev/tables/kernel.csv, too

A row is start-loss-size: `none` (random weights) or `phantom` (computed patients first, as `pretrain` makes them); ce or ce+dice;
the side of the network's input. EfficientNet-b2 / U-Net++, one-cycle to 1e-3, 40 epochs, the weights of the last one: no slice
chooses an epoch. Batches of 8, since a fold leaves 48 slices to learn from: 6 steps an epoch, 240 in all. (The kernel itself has
905 slices: 56 steps of 16 an epoch, 2,240 in all. There a good start matters less; that is not measured here.)

Only the slices from the 25th on are read: each is predicted once, by a network that learned from the other folds (copies of a
picture are in one fold). Measured at the masks' own size, counts of all slices added up: flat F1, both lesions' masks as one long
row of pixels (Kaggle's own, as far as known); the mean F1 of the two lesions; lesion mIoU.

Several of these processes may run side by side: they share the work. What is measured is not measured again.
"""
import argparse, json, os, time
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from filelock import FileLock, Timeout

from common import write_table
from covid_nbdev.augment import dataloaders
from covid_nbdev.devices import check_gpu, placed
from covid_nbdev.evidence import paired_difference
from covid_nbdev.masks import CLASSES
from covid_nbdev.metrics import ConfusionMatrix
from covid_nbdev.model import build_model
from covid_nbdev.pretrain import pretrain
from covid_nbdev.results import Predictor
from covid_nbdev.train import fit, TrainConfig
from transfer import lesion_miou, matrices, phantom_code, Real, short

ROWS = [f"{start}-{loss}-{size}" for start in ("none", "phantom") for loss in ("ce", "ce+dice") for size in (256, 512)]
RECIPE = dict(epochs=40, batch_size=8, lr=1e-3)
LOOKS = {"once": False, "flip": True}      # the mirrored slice is asked, too, and the logits are averaged


def config_of(row: str, seed: int, a) -> TrainConfig:
    start, loss, size = row.split("-")
    settings = dict(loss=loss, size=int(size), seed=seed, weights=None if start == "none" else start)
    return TrainConfig(**RECIPE | a.change | settings).check(start=False)


class LastEpoch:
    "A callback: the weights of the last epoch stay."
    def after_epoch(self, learn): learn.best_weights = None


def trained(config: TrainConfig, store, folder: Path, device) -> Path:
    "A network of this recipe, as a run's best.safetensors."
    start = pretrain(config, device=device, progress=False) if config.weights else None
    torch.manual_seed(config.seed)
    loaders = dataloaders(store, config.size, config.batch_size, config.seed, rotate=config.rotate)
    model = placed(build_model(config.encoder, start, config.upsample), device)
    history = fit(model, loaders, replace(config, weights=None), [LastEpoch()])
    about = dict(encoder=config.encoder, upsample=config.upsample, size=config.size, classes=CLASSES, in_channels=1,
                 standardizer=loaders.standardizer.to_dict(), epoch=len(history))
    tensors = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(tensors, folder/"best.safetensors", {"covid_nbdev": json.dumps(about)})
    return folder/"best.safetensors"


def file_of(row: str, seed: int, fold: int, a, real: Real) -> Path:
    what = [asdict(config_of(row, seed, a)), real.key, a.folds, fold, phantom_code() if row.startswith("phantom") else 0]
    return a.out/f"{row}-{seed}-{fold}-{short(what)}.npz"


def measure(row: str, seed: int, fold: int, a, real: Real, device) -> None:
    "One fold: a confusion matrix for each slice that was left out, for both looks."
    file, started = file_of(row, seed, fold, a, real), time.perf_counter()
    with TemporaryDirectory() as folder:
        weights = trained(config_of(row, seed, a), real.training_store(fold), Path(folder), device)
        minutes, rows = (time.perf_counter() - started)/60, real.folds[fold][1]
        found = {look: matrices(Predictor(weights, device, tta), real.images[rows], real.labels[rows]) for look, tta in LOOKS.items()}
    np.savez(tmp := file.with_suffix(f".{os.getpid()}.tmp.npz"), rows=rows, minutes=minutes, **found)
    tmp.rename(file)
    print(f"{row}, seed {seed}, fold {fold}: {minutes:.1f} minutes, lesion mIoU {lesion_miou(found['once'].sum(0)):.3f}", flush=True)


def run(a, real: Real, device) -> None:
    for row, seed, fold in ((row, seed, fold) for row in a.rows for seed in a.seeds for fold in range(a.folds)):
        file = file_of(row, seed, fold, a, real)
        try:
            with FileLock(f"{file}.lock", timeout=0):
                if not file.is_file(): measure(row, seed, fold, a, real, device)
        except Timeout: pass        # another process is at it


# ---- the table

def flat_f1(matrix) -> float:
    "2·TP/(predicted + true), both lesions' masks as one row of pixels."
    return float(2*(matrix[0, 0] + matrix[1, 1])/max(1, matrix[:2].sum() + matrix[:, :2].sum()))


def mean_f1(matrix) -> float: return float(np.nanmean(ConfusionMatrix(matrix).dice(np.nan)[:2]))


def gathered(row: str, a, real: Real) -> tuple[dict, list]:
    "Look -> matrices of each seed, (seeds, slices, 4, 4), and the seeds: those of which all folds are there."
    every, seeds, minutes = {look: [] for look in LOOKS}, [], []
    for seed in a.seeds:
        files = [file_of(row, seed, fold, a, real) for fold in range(a.folds)]
        if not all(f.is_file() for f in files): continue
        cube = {look: np.zeros((len(real.images), 4, 4), np.int64) for look in LOOKS}
        for f in files:
            with np.load(f, allow_pickle=False) as z:
                for look in LOOKS: cube[look][z["rows"]] = z[look]
                minutes.append(float(z["minutes"]))
        for look in LOOKS: every[look].append(cube[look])
        seeds.append(seed)
    return {look: np.stack(cubes) for look, cubes in every.items() if cubes}, seeds, minutes


def table(a, real: Real) -> list[dict]:
    "Printed: each row, and what each choice changes, slice by slice. The lines of the csv."
    lines, cubes = [], {}
    for row in a.rows:
        every, seeds, minutes = gathered(row, a, real)
        for look, cube in every.items():
            cubes[row, look] = cube
            pooled = {name: [score(one.sum(0)) for one in cube] for name, score in
                      (("flat_f1", flat_f1), ("mean_f1", mean_f1), ("lesion_miou", lesion_miou))}
            lines.append(dict(row=row, look=look, seeds=" ".join(map(str, seeds)), slices=cube.shape[1]) |
                         {name: round(float(np.mean(v)), 4) for name, v in pooled.items()} |
                         {"flat_f1_of_seeds": ", ".join(f"{v:.3f}" for v in pooled["flat_f1"])})
    print(pd.DataFrame(lines).to_string(index=False))
    pairs = [(old, new) for old, new in combinations(cubes, 2)      # those that differ in one thing
             if sum(x != y for x, y in zip([*old[0].split("-"), old[1]], [*new[0].split("-"), new[1]])) == 1]
    print("\nwhat a choice changes: mean flat F1 of a slice (95 % interval, p); pooled flat F1")
    groups = [patient or f"slice {i}" for i, patient in enumerate(real.patients)]
    for old, new in pairs:
        n = min(len(cubes[old]), len(cubes[new]))
        after, before = cubes[new][:n], cubes[old][:n]
        of_slice = [np.mean([[flat_f1(m) if m[:2].any() else np.nan for m in one] for one in cube], axis=0) for cube in (after, before)]
        d, (low, high), p = paired_difference(*of_slice, groups)
        moved = np.mean([flat_f1(x.sum(0)) - flat_f1(y.sum(0)) for x, y in zip(after, before)])
        print(f"{' '.join(new):24} − {' '.join(old):24} {d:+.3f} ({low:+.3f} to {high:+.3f}, p {p:.3f}); {moved:+.3f}")
    return lines


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", metavar="REAL", help="a folder in Kaggle's layout with real slices")
    p.add_argument("--rows", nargs="+", default=ROWS, metavar="ROW", help=f"start-loss-size ({' '.join(ROWS)})")
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    p.add_argument("--folds", type=int, default=4)
    p.add_argument("--out", type=Path, default=Path("runs/kernel_recipe"), help="scores and stores (runs/kernel_recipe)")
    p.add_argument("--table", action="store_true", help="train nothing")
    p.add_argument("--write", action="store_true", help="write covid_nbdev/tables/kernel.csv, too")
    p.add_argument("--change", type=json.loads, default={}, metavar="JSON", help='of the recipe, such as {"epochs": 20}')
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    real = Real(a.folder, a.out/"stores", a.folds)
    if not a.table: run(a, real, check_gpu())
    lines = table(a, real)
    if a.write: write_table("kernel.csv", f"kernel_recipe.py REAL --seeds {' '.join(map(str, a.seeds))}: {a.folds} folds of {len(real.images)} slices", lines)


if __name__ == "__main__": main()
