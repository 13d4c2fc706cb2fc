"""Which recipe shall the kernel take? Start, loss, size and a second look in the mirror, compared by folds on real slices.

    python benchmarks/kernel_recipe.py REAL                       REAL: a folder in Kaggle's layout; hours without a GPU
    python benchmarks/kernel_recipe.py REAL --rows none-ce-256 phantom-ce-256 --seeds 0
    python benchmarks/kernel_recipe.py REAL --table               the table of what is measured already

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
from dataclasses import asdict
from itertools import combinations, product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from covid_nbdev.devices import check_gpu
from covid_nbdev.evidence import paired_difference
from covid_nbdev.metrics import ConfusionMatrix
from covid_nbdev.pretrain import pretrain
from covid_nbdev.results import Predictor
from covid_nbdev.run import train_run
from covid_nbdev.train import TrainConfig
from transfer import lesion_miou, matrices, phantom_code, Real, short

ROWS = [f"{start}-{loss}-{size}" for start in ("none", "phantom") for loss in ("ce", "ce+dice") for size in (256, 512)]
RECIPE = dict(epochs=40, batch_size=8, lr=1e-3, best="last")
LOOKS = {"once": False, "flip": True}      # the mirrored slice is asked, too, and the logits are averaged


def config_of(row: str, seed: int, a) -> TrainConfig:
    start, loss, size = row.split("-")
    settings = dict(loss=loss, size=int(size), seed=seed, weights=None if start == "none" else start)
    return TrainConfig(**RECIPE | a.change | settings).check(start=False)


def trained(config: TrainConfig, store, run: Path, device) -> Path:
    "A network of this recipe."
    start = pretrain(config, device=device, progress=False) if config.weights else None
    train_run(store, run, config, device=device, progress=False, on_epoch=None, start=start)
    return run/"best.safetensors"


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
    for row, seed, fold in product(a.rows, a.seeds, range(a.folds)):
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


def measured(row: str, a, real: Real) -> tuple[dict, list]:
    "Look -> {(seed, slice): confusion matrix}, of the folds that are there; minutes of each training."
    found, minutes = {look: {} for look in LOOKS}, []
    for seed, fold in product(a.seeds, range(a.folds)):
        if not (file := file_of(row, seed, fold, a, real)).is_file(): continue
        with np.load(file, allow_pickle=False) as z:
            for look in LOOKS: found[look] |= {(seed, int(r)): m for r, m in zip(z["rows"], z[look])}
            minutes.append(float(z["minutes"]))
    return found, minutes


def of_slices(found: dict, keys: list) -> list[float]:
    "Flat F1 of each slice, the mean over seeds. NaN where nothing is true."
    one = {key: flat_f1(found[key]) if found[key][:2].any() else np.nan for key in keys}
    return [np.mean([one[key] for key in keys if key[1] == row]) for row in sorted({row for _, row in keys})]


def table(a, real: Real) -> None:
    "Each row, pooled; then what each single choice changes, slice by slice, on what both have measured."
    cubes, lines = {}, []
    for row in a.rows:
        found, minutes = measured(row, a, real)
        for look in LOOKS if minutes else ():
            cubes[row, look], total = found[look], sum(found[look].values())
            lines.append(dict(row=row, look=look, trainings=len(minutes), slices=len({r for _, r in found[look]}), flat_f1=flat_f1(total),
                              mean_f1=mean_f1(total), lesion_miou=lesion_miou(total), minutes=np.median(minutes)))
    print(pd.DataFrame(lines).round(3).to_string(index=False))
    print("\nwhat a choice changes: flat F1 of a slice (95 % interval, p), mean over seeds; flat F1 and mean F1, pooled")
    for old, new in combinations(cubes, 2):
        parts = [[*name.split("-"), look] for name, look in (old, new)]
        keys = sorted(cubes[old].keys() & cubes[new].keys())
        if not keys or sum(x != y for x, y in zip(*parts)) != 1: continue
        groups = [real.patients[row] or f"slice {row}" for row in sorted({row for _, row in keys})]
        d, (low, high), p = paired_difference(of_slices(cubes[new], keys), of_slices(cubes[old], keys), groups)
        before, after = (sum(cubes[name][key] for key in keys) for name in (old, new))
        print(f"{' '.join(new):25} − {' '.join(old):25} {len(groups)} slices: {d:+.3f} ({low:+.3f} to {high:+.3f}, p {p:.3f}); "
              f"{flat_f1(after):.3f} − {flat_f1(before):.3f}, {mean_f1(after):.3f} − {mean_f1(before):.3f}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", metavar="REAL", help="a folder in Kaggle's layout with real slices")
    p.add_argument("--rows", nargs="+", default=ROWS, metavar="ROW", help=f"start-loss-size ({' '.join(ROWS)})")
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    p.add_argument("--folds", type=int, default=4)
    p.add_argument("--out", type=Path, default=Path("runs/kernel_recipe"), help="scores and stores (runs/kernel_recipe)")
    p.add_argument("--table", action="store_true", help="train nothing")
    p.add_argument("--change", type=json.loads, default={}, metavar="JSON", help='of the recipe, such as {"epochs": 20}')
    a = p.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    real = Real(a.folder, a.out/"stores", a.folds)
    if not a.table: run(a, real, check_gpu())
    table(a, real)


if __name__ == "__main__": main()
