"""What does a network that studied computed patients know of real CT? Train, then measure on real slices.

    python benchmarks/transfer.py REAL --score develop                  REAL: a folder in Kaggle's layout
    python benchmarks/transfer.py REAL --score test                     the first 24 MedSeg slices: for the final figures
    python benchmarks/transfer.py REAL --rows phantom-1x phantom-4x --seeds 0 1 2
    python benchmarks/transfer.py REAL --rows phantom-1x --probe        what the network holds on to
    python benchmarks/transfer.py REAL --table                          the tables of what is measured already

Rows (a seed decides on computed patients, first weights, order and augmentation; seed 0 of phantom-1x is covid_demo's run):

    phantom-1x, -2x, -4x     computed patients alone, by covid_demo's recipe, with as many times its patients; with more of
                             them fewer epochs, so that the number of steps is the same (--epochs_fixed: the same epochs)
    real                     real slices alone, from scratch
    imagenet-real            real slices, from ImageNet weights
    phantom-real             computed patients, then real slices
    imagenet-phantom-real    ImageNet weights, computed patients, then real slices
    thresholds               no network: an HU interval for each lesion class, searched on the real slices
    phantom-lite2, imagenet-phantom    (on request) the networks of phantom-real and imagenet-phantom-real before they see real slices

The four rows of networks with real slices have one encoder (lite2) and one recipe: only what the network starts from differs. What
trains on real slices has them from the 25th on. With --score develop it is trained once for each fold and measured on the
slices left out; what has seen no real slice is measured on all of these. With --score test everything is measured on the
first 24, and each such reading is noted in a log beside the table. Networks are kept as they are after the last epoch,
since a choice of epoch needs slices of its own.

Recipes can be changed: --demo phantom.n_medseg=80 epochs=4; --first copies=2; --real epochs=15. A measured row is not
measured again unless its recipe, its data or the phantom's code has changed. An interrupted training goes on.
"""
import argparse, ast, hashlib, json, os, shutil, time
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from filelock import FileLock

from covid_nbdev import phantom
from covid_nbdev.cli import _DEMO
from covid_nbdev.competition import hu_slices, open_competition
from covid_nbdev.etl import Store, build_store, split
from covid_nbdev.evidence import paired_difference
from covid_nbdev.leaks import folds
from covid_nbdev.masks import FOLD_TABLE, onehot_codes
from covid_nbdev.metrics import ConfusionMatrix, confusion
from covid_nbdev.results import Predictor, threshold_baseline
from covid_nbdev.run import train_run
from covid_nbdev.train import TrainConfig

ROWS = {"phantom-1x": [("demo", 1)], "phantom-2x": [("demo", 2)], "phantom-4x": [("demo", 4)],
        "real": [("real", None)], "imagenet-real": [("real", "imagenet")],
        "phantom-real": [("first", None), ("real", "before")],
        "imagenet-phantom-real": [("first", "imagenet"), ("real", "before")],
        "thresholds": [("thresholds", None)],
        "phantom-lite2": [("first", None)], "imagenet-phantom": [("first", "imagenet")]}
PAIRS = [("phantom-2x", "phantom-1x"), ("phantom-4x", "phantom-1x"), ("imagenet-real", "real"), ("phantom-real", "real"),
         ("phantom-real", "imagenet-real"), ("imagenet-phantom-real", "imagenet-real"), ("imagenet-phantom-real", "phantom-real"),
         ("phantom-1x", "imagenet-real"), ("phantom-4x", "imagenet-real"), ("phantom-1x", "thresholds"), ("phantom-4x", "thresholds"),
         ("imagenet-real", "thresholds")]
N_TEST = 24             # MedSeg's first slices: the deck's validation
LITE2 = dict(encoder="lite2", batch_size=8, size=256, lr=1e-3, loss="ce+dice", best="last")
RECIPES = {"demo": {**{f"phantom.{k}": v for k, v in _DEMO["phantom"].items() if k != "seed"}, **_DEMO["train"]},
           "first": {**{f"phantom.{k}": v for k, v in _DEMO["phantom"].items() if k != "seed"}, **LITE2, "copies": 4, "epochs": 8},
           "real": {**LITE2, "epochs": 30}}


def short(thing) -> str: return hashlib.sha256(json.dumps(thing, sort_keys=True).encode()).hexdigest()[:10]


def phantom_code() -> str:
    "The code that computes patients: the modules of lesson 04 and of its workshops. Another phantom, other numbers."
    files = sorted(Path(phantom.__file__).parent.glob("*.py"))
    return short([text for f in files if "File to edit: ../nbs/04" in (text := f.read_text(encoding="utf-8"))])


PHANTOM = phantom_code()


# ---- what is trained: a row is a list of stages, and each stage a dict from which everything about it follows

def stage(kind: str, start, seed: int, a) -> dict:
    if kind == "thresholds": return dict(data="real", fold=None, thresholds=True)
    recipe = dict(a.recipes[kind])
    copies = start if kind == "demo" else recipe.pop("copies", 1)
    made = {k.partition(".")[2]: recipe.pop(k) for k in [*recipe] if k.startswith("phantom.")}
    if kind == "demo" and not a.epochs_fixed: recipe["epochs"] = max(1, round(recipe["epochs"]/copies))
    config = asdict(TrainConfig(**{**recipe, "seed": seed}))
    found = dict(config=config, start=start if kind != "demo" else None)
    if kind == "real": return found | dict(data="real", fold=None)
    n_valid = 24 if made["n_medseg"] >= 48 else max(1, made["n_medseg"]//4)       # these stay as many
    made |= dict(n_radiopaedia=copies*made["n_radiopaedia"], n_medseg=n_valid + copies*(made["n_medseg"] - n_valid),
                 seed=0 if a.same_patients else seed)
    return found | dict(data="phantom", phantom=made, code=PHANTOM)


def computed_store(s: dict, work: Path) -> Store:
    "The stage's computed patients: written once."
    folder = work/f"patients-{short([s['phantom'], s['code']])}"
    with FileLock(f"{folder}.lock"):                # several of these programs may run side by side
        if not (folder/"store").is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            phantom.write_phantom_dataset(folder/"raw", **s["phantom"])
            build_store(folder/"raw", folder/"store", progress=False)
            shutil.rmtree(folder/"raw")
    return Store(folder/"store")


def write_store(folder: Path, images, labels, patients, splits) -> Store:
    "A store of these slices, unless it is there."
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            shutil.rmtree(tmp := folder.with_suffix(".tmp"), ignore_errors=True)
            tmp.mkdir()
            np.save(tmp/"images.npy", images); np.save(tmp/"labels.npy", labels)
            table = {"source": "medseg", "number": range(len(images)), "patient": patients, "split": splits}
            pd.DataFrame(table).to_csv(tmp/"index.csv", index=False)
            tmp.rename(folder)
    return Store(folder)


class Real:
    "The real slices: `slices` to train on and to develop by, from the 25th on; `read(test)` gives what is measured."
    def __init__(self, path, work: Path, k: int):
        self.part, self.k = next(p for p in open_competition(path) if p.source == "medseg"), k
        self.images, self.labels, self.patients = self.load(range(N_TEST, len(self.part)))
        self.key = hashlib.sha256(self.images.tobytes() + self.labels.tobytes()).hexdigest()[:10]
        self.folder = work/f"real-{self.key}"
        self.store = write_store(self.folder/"all", self.images, self.labels, self.patients, "train")
        self.folds = folds(self.store, k)

    def load(self, rows):
        images = np.stack([hu for hu, _ in hu_slices(self.part.images, self.part.names[0], rows)])
        labels = np.stack([FOLD_TABLE[onehot_codes(self.part.masks[i])] for i in rows])
        return images, labels, [self.part.patients[i] for i in rows]

    def training_store(self, fold) -> Store:
        "The validation rows decide nothing: the last epoch is kept. The trainer wants one, so it gets one of the training slices again."
        train = np.arange(len(self.images)) if fold is None else self.folds[fold][0]
        rows = np.append(train, train[0])
        return write_store(self.folder/f"fold{fold} of {self.k}", self.images[rows], self.labels[rows],
                           [self.patients[r] for r in rows], ["train"]*len(train) + ["valid"])


def trained(stages: list[dict], real: Real, work: Path) -> tuple:
    "The last stage's weights (or its thresholds), minutes and steps of all stages. What is trained already is not trained again."
    weights, minutes, steps = None, 0, 0
    for n, s in enumerate(stages, 1):
        if "thresholds" in s:
            rows = slice(None) if s["fold"] is None else real.folds[s["fold"]][0]
            return threshold_baseline(real.images[rows], real.labels[rows]), 0., 0
        run = work/f"run-{short([stages[:n], real.key if s['data'] == 'real' else 0])}"
        store = real.training_store(s["fold"]) if s["data"] == "real" else computed_store(s, work)
        start = os.fspath(weights) if s["start"] == "before" else s["start"]
        config = TrainConfig(**{**s["config"], "weights": start})
        with FileLock(f"{run}.lock"):               # rows share their first stages
            if (run/"done.csv").is_file(): history = pd.read_csv(run/"done.csv")
            else:
                history = train_run(store, run, config, resume=True, progress=False)
                history.to_csv(run/"done.csv", index=False)
            weights = run/"best.safetensors"
        minutes += history["seconds"].sum()/60
        steps += len(history)*max(1, len(split(store).train)//config.batch_size)
    return weights, float(minutes), steps


# ---- what is measured

def matrices(found, images, labels, change=None) -> np.ndarray:
    "A confusion matrix for each slice, at the masks' own size."
    predictor = Predictor(found) if isinstance(found, Path) else found
    return np.stack([confusion(predictor(hu if change is None else change(hu, true)), true) for hu, true in zip(images, labels)])


def measure(row: str, seed: int, a, real: Real) -> tuple[np.ndarray, float, int]:
    "Train what the row says, and measure it."
    stages = [stage(*s, seed, a) for s in ROWS[row]]
    if a.score == "test" or stages[-1]["data"] != "real":
        weights, minutes, steps = trained(stages, real, a.work)
        images, labels = real.load(range(N_TEST))[:2] if a.score == "test" else (real.images, real.labels)
        return matrices(weights, images, labels), minutes, steps
    found, minutes, steps = np.zeros((len(real.images), 4, 4), np.int64), [], []
    for fold, (_, valid) in enumerate(real.folds):
        weights, m, n = trained([*stages[:-1], stages[-1] | {"fold": fold}], real, a.work)
        found[valid] = matrices(weights, real.images[valid], real.labels[valid])
        minutes.append(m); steps.append(n)
    return found, float(np.mean(minutes)), int(np.mean(steps))      # of one training, not of all folds


def key_of(row: str, seed: int, a, real: Real) -> str:
    return short([[stage(*s, seed, a) for s in ROWS[row]], a.score, real.key, a.folds if a.score == "develop" else 0])


def any_lesion(matrix) -> ConfusionMatrix:
    "Both lesions as one class, all else as the other."
    either = np.array([[1, 1, 0, 0], [0, 0, 1, 1]])
    return ConfusionMatrix(either @ matrix @ either.T, n=2)


def lesion_miou(matrix) -> float: return ConfusionMatrix(matrix).miou((0, 1))
def lesion_dice(matrix) -> float: return float(any_lesion(matrix).dice(np.nan)[0]) if matrix[:2].any() else np.nan


def of_slices(score, every) -> np.ndarray:
    "Mean over seeds of each slice's score; (seeds, slices, 4, 4) -> (slices,). NaN where a slice has no lesion."
    return np.array([[score(m) for m in one] for one in every]).mean(0)


def draws(every, n=2000) -> list:
    "Row numbers of slices drawn with replacement: the same for every row, so that rows can be compared."
    return np.random.default_rng(0).integers(0, every.shape[1], (n, every.shape[1]))


def pooled(score, every, rows=slice(None)) -> float: return float(np.mean([score(m) for m in every[:, rows].sum(1)]))


# ---- the table

def summary(row: str, every, seeds) -> dict:
    "A row's scores, pooled over slices, mean over seeds, with 95 % intervals over slices."
    line = dict(row=row, seeds=" ".join(map(str, seeds)), slices=every.shape[1])
    for name, score in (("lesion_miou", lesion_miou), ("any_lesion_dice", lesion_dice)):
        low, high = np.percentile([pooled(score, every, d) for d in draws(every)], [2.5, 97.5])
        line |= {name: round(pooled(score, every), 4), f"{name}_low": round(low, 4), f"{name}_high": round(high, 4),
                 f"{name}_of_seeds": ", ".join(f"{pooled(score, one[None]):.3f}" for one in every)}
    return line | {"miou": round(pooled(lambda m: ConfusionMatrix(m).miou(), every), 4)}


def write_table(a, lines: list[dict]) -> None:
    "The table that lesson 17 shows."
    head = f"# benchmarks/transfer.py REAL --score {a.score} --table --write, seeds {' '.join(map(str, a.seeds))}, phantom version {phantom.PHANTOM_VERSION}"
    with open(a.write, "w", encoding="utf-8", newline="") as f:
        f.write(f"{head}\n# {time.strftime('%Y-%m-%d')}\n")
        pd.DataFrame(lines).to_csv(f, index=False, lineterminator="\n")


def table(a, real: Real) -> str:
    "Markdown: the rows, and their paired differences."
    saved, settings = {}, [(row, seed) for row in a.rows for seed in a.seeds]
    for row, seed in settings:
        if (file := scores_file(row, seed, a, real)).is_file():
            with np.load(file, allow_pickle=False) as z: saved.setdefault(row, {})[seed] = z["matrices"]
    what = f"the first {N_TEST} slices" if a.score == "test" else f"slices from the {N_TEST + 1}th on ({a.folds} folds where trained on real ones)"
    out = [f"{what}; intervals: 95 %, over slices; pooled over slices, mean over seeds", "",
           "| row | seeds | lesion mIoU | each seed | any-lesion Dice | each seed | mIoU |", "|---|---|---|---|---|---|---|"]
    cube = {row: np.stack(list(seeds.values())) for row, seeds in saved.items()}
    lines = [summary(row, cube[row], saved[row]) for row in cube]
    for line in lines:
        cells = [line["row"], line["seeds"]]
        for name in ("lesion_miou", "any_lesion_dice"):
            cells += [f"{line[name]:.3f} ({line[f'{name}_low']:.3f} to {line[f'{name}_high']:.3f})", line[f"{name}_of_seeds"]]
        out.append("| " + " | ".join([*cells, f"{line['miou']:.3f}"]) + " |")
    if a.write: write_table(a, lines)
    out += ["", "Paired differences by slice (mean of the slices' own scores, each the mean over seeds), and of the pooled lesion mIoU", "",
            "| difference | lesion mIoU of a slice | p | any-lesion Dice of a slice | p | pooled lesion mIoU |", "|---|---|---|---|---|---|"]
    patients = real.patients if a.score == "develop" else real.part.patients[:N_TEST]
    groups = [patient or f"slice {i}" for i, patient in enumerate(patients)]
    for one, other in PAIRS:
        if not {one, other} <= cube.keys(): continue
        both = sorted(saved[one].keys() & saved[other].keys())
        if not both: continue
        first, second = (np.stack([saved[row][s] for s in both]) for row in (one, other))
        cells = [f"{one} − {other}" + (f" (seeds {both})" if both != list(a.seeds) else "")]
        for score in (lesion_miou, lesion_dice):
            d, (low, high), p = paired_difference(of_slices(score, first), of_slices(score, second), groups)
            cells += [f"{d:+.3f} ({low:+.3f} to {high:+.3f})", f"{p:.3f}"]
        moved = [pooled(lesion_miou, first, d) - pooled(lesion_miou, second, d) for d in draws(first)]
        low, high = np.percentile(moved, [2.5, 97.5])
        cells.append(f"{pooled(lesion_miou, first) - pooled(lesion_miou, second):+.3f} ({low:+.3f} to {high:+.3f})")
        out.append("| " + " | ".join(cells) + " |")
    return "\n".join(out)


def scores_file(row, seed, a, real) -> Path:
    return a.out.with_suffix("")/f"{row}-{seed}-{a.score}-{key_of(row, seed, a, real)}.npz"


def note_reading(a, what: str):
    "Who measures on the first 24 slices says so, each time."
    if a.score != "test": return
    log = a.out.with_suffix(".readings.log")
    with open(log, "a", encoding="utf-8") as f: f.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {what}\n")
    print(f"reading number {len(log.read_text(encoding='utf-8').splitlines())} of the first {N_TEST} slices, noted in {log}")


def run_rows(a, real: Real):
    left = [(row, seed) for row in a.rows for seed in a.seeds if not scores_file(row, seed, a, real).is_file()]
    if left: note_reading(a, ", ".join(f"{row} seed {seed}" for row, seed in left))
    for row, seed in left:
        print(f"---- {row}, seed {seed}", flush=True)
        found, minutes, steps = measure(row, seed, a, real)
        file = scores_file(row, seed, a, real)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(tmp := file.with_suffix(".tmp.npz"), matrices=found)
        tmp.rename(file)
        stages = [stage(*s, seed, a) for s in ROWS[row]]
        line = dict(row=row, seed=seed, score=a.score, slices=len(found), lesion_miou=round(lesion_miou(found.sum(0)), 4),
                    any_lesion_dice=round(lesion_dice(found.sum(0)), 4), miou=round(ConfusionMatrix(found.sum(0)).miou(), 4),
                    steps=steps, minutes=round(minutes, 1), threads=torch.get_num_threads(), phantom=PHANTOM,
                    date=time.strftime("%Y-%m-%d"), scores=file.name, settings=json.dumps(stages))
        pd.DataFrame([line]).to_csv(a.out, mode="a", header=not a.out.is_file(), index=False)
        print({k: line[k] for k in ("lesion_miou", "any_lesion_dice", "miou", "steps", "minutes")}, flush=True)


# ---- what the network holds on to

def blurred(sigma): return lambda hu, true: cv2.GaussianBlur(hu.astype(np.float32), (0, 0), sigma).round().astype(np.int16)
def scaled(gain, offset): return lambda hu, true: ((hu + 1000.)*gain - 1000 + offset).clip(-1500, 3000).round().astype(np.int16)
def outside(value): return lambda hu, true: np.where(true == 3, value, hu).astype(np.int16)


def flat(hu, true):
    "Each lesion class at its mean HU: density without texture."
    out = hu.copy()
    for c in (0, 1):
        if (true == c).any(): out[true == c] = int(hu[true == c].mean())
    return out


def empty_lung(hu, true):
    "Healthy lung at its median: no vessels."
    out = hu.copy()
    if (true == 2).any(): out[true == 2] = int(np.median(hu[true == 2]))
    return out


PROBES = {"as it is": None, "outside the true lungs: air": outside(-1000), "outside the true lungs: soft tissue": outside(40),
          "blurred, sigma 1 px": blurred(1), "blurred, sigma 2 px": blurred(2), "blurred, sigma 4 px": blurred(4),
          "HU above air × 0.9": scaled(.9, 0), "HU above air × 1.1": scaled(1.1, 0), "−100 HU": scaled(1, -100), "−50 HU": scaled(1, -50),
          "+50 HU": scaled(1, 50), "+100 HU": scaled(1, 100), "lesions without texture": flat, "healthy lung without texture": empty_lung}


def probe(a, real: Real):
    "Networks that saw no real slice, on changed slices: where the score falls, there is what they look at; where it rises, what misleads them."
    rows = [row for row in a.rows if ROWS[row][-1][0] in ("demo", "first")]
    if not rows: raise SystemExit("--probe wants rows without real slices, such as --rows phantom-1x")
    images, labels = (real.images, real.labels) if a.score == "develop" else real.load(range(N_TEST))[:2]
    note_reading(a, f"probes of {', '.join(rows)}, seeds {a.seeds}")
    for row in rows:
        print(f"\n{row}: {len(images)} slices, mean over seeds {a.seeds}\n\n| slices | lesion mIoU | any-lesion Dice | lesion found | false lesion, "
              f"of true lesion | of it outside the lungs | ground glass IoU | consolidation IoU |\n|---|---|---|---|---|---|---|---|")
        nets = [trained([stage(*s, seed, a) for s in ROWS[row]], real, a.work)[0] for seed in a.seeds]
        for name, change in PROBES.items():
            every = np.stack([matrices(net, images, labels, change) for net in nets])
            m = every.sum(1).astype(float)                   # (seeds, true, predicted)
            true, found, false = m[:, :2].sum((1, 2)), m[:, :2, :2].sum((1, 2)), m[:, 2:, :2].sum((1, 2))
            outside_px, iou = m[:, 3, :2].sum(1), np.mean([ConfusionMatrix(x).iou()[:2] for x in every.sum(1)], 0)
            numbers = [pooled(lesion_miou, every), pooled(lesion_dice, every), (found/true).mean(), (false/true).mean(),
                       (outside_px/np.maximum(false, 1)).mean(), *iou]
            print(f"| {name} | " + " | ".join(f"{v:.3f}" for v in numbers) + " |", flush=True)


# ----

def changed(name: str, pairs: list[str]) -> dict:
    "A recipe with what the command line changes of it."
    recipe = dict(RECIPES[name])
    for pair in pairs:
        key, _, value = pair.partition("=")
        try: recipe[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError): recipe[key] = value
    return recipe


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", metavar="REAL", help="a folder in Kaggle's layout with real slices")
    p.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS)[:8], metavar="NAME")
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    p.add_argument("--score", choices=["develop", "test"], default="develop", help="slices from the 25th on (default), or the first 24")
    p.add_argument("--folds", type=int, default=4, help="of --score develop, for rows that train on real slices (4)")
    p.add_argument("--epochs_fixed", action="store_true", help="2x and 4x: the same epochs instead of the same steps")
    p.add_argument("--same_patients", action="store_true", help="computed patients of seed 0 for every seed")
    p.add_argument("--out", type=Path, default=Path("runs/transfer.csv"), help="one line per row and seed is added (runs/transfer.csv)")
    p.add_argument("--work", type=Path, default=Path("runs/transfer_work"), help="stores and runs (runs/transfer_work)")
    p.add_argument("--threads", type=int, help="torch's")
    p.add_argument("--probe", action="store_true", help="score on changed slices instead")
    p.add_argument("--table", action="store_true", help="only print the tables")
    p.add_argument("--write", type=Path, metavar="FILE.csv", help="write the first table, too")
    for name in RECIPES: p.add_argument(f"--{name}", nargs="+", default=[], metavar="KEY=VALUE", help=f"changes of the recipe {RECIPES[name]}")
    a = p.parse_args()
    a.recipes = {name: changed(name, getattr(a, name)) for name in RECIPES}
    if a.threads: torch.set_num_threads(a.threads); cv2.setNumThreads(a.threads)
    a.out.parent.mkdir(parents=True, exist_ok=True)
    a.work.mkdir(parents=True, exist_ok=True)
    real = Real(a.folder, a.work, a.folds)
    if a.probe: return probe(a, real)
    if not a.table: run_rows(a, real)
    print("\n" + table(a, real))


if __name__ == "__main__": main()
