"""The leak laboratory of lesson 07: what a validation reports and what is true, by the share of validation patients that leak.

    python benchmarks/leaks.py                         all 200 repetitions, about 12 minutes on one core
    python benchmarks/leaks.py --repetitions 3 --dry   the first three again, printed beside what is shipped

Each repetition has 16 patients of its own, seen by no other repetition. Eight validate, with one slice each. Eight train, with
one slice each: always eight training slices. Where a validation patient leaks, its neighbor slice, 3 mm further to the feet,
takes the place of one training slice. Who leaks at 25 % leaks at 50 %, too. What is true: the same predictor on one slice
each of 60 more patients, the same in all repetitions, from whom nothing is ever learned. All slices have 64 by 64 pixels and
lie at the median level of the patient's lesions. Two predictors, and nothing else is tried: `remembers` gives each slice the
labels of the most similar training slice; `thresholds` learns two HU intervals. Scores are lesion mIoU, pooled over slices.
Writes covid_nbdev/tables/leaks.csv.
"""
import argparse, time

import numpy as np
import pandas as pd

from common import TABLES, write_table
from covid_nbdev.anatomy import body_views, make_patient, render
from covid_nbdev.leaks import similarity
from covid_nbdev.metrics import ConfusionMatrix
from covid_nbdev.results import threshold_baseline

REPETITIONS, PATIENTS, SIDE, SPACING_MM = 200, 8, 64, 3.
SHARES = (0, 25, 50, 75, 100)                               # of the eight validation patients
FRESH, FIRST = range(30_000, 30_060), 40_000                # seeds: of the 60 patients, and where the repetitions' begin


def neighbors(seed: int, n: int = 1) -> tuple:
    "HU (n, S, S) and labels of n slices of one patient, 3 mm apart; the first at the median level of the lesions."
    patient = make_patient(seed, "radiopaedia")
    view, slices = next(body_views(patient, 1, SIDE)), []
    level_mm = float(np.median(patient.lesions["at"][:, 2]))
    for k in range(n):
        view.z = level_mm + k*SPACING_MM
        hu, labels, _ = render(patient, view)
        slices.append((hu.round().astype(np.int16), labels))
    return tuple(np.stack(part) for part in zip(*slices))


def of_patients(seeds, n: int = 1) -> tuple:
    "HU (patients, n, S, S) and labels."
    return tuple(np.stack(part) for part in zip(*(neighbors(seed, n) for seed in seeds)))


def remembers(alike, images, labels, train, ask):
    "The labels of the most similar training slice."
    return labels[train[alike[np.ix_(ask, train)].argmax(axis=1)]]


def thresholds(alike, images, labels, train, ask):
    "Lungs found by themselves; inside them the HU interval of each lesion class that fits the training slices best (lesson 16)."
    predict = threshold_baseline(images[train], labels[train])
    return np.stack([predict(images[row]) for row in ask])


PREDICTORS = {"remembers": remembers, "thresholds": thresholds}


def repetition(number: int, fresh: tuple) -> list[dict]:
    "A row for each share: what each predictor's validation reports, and what it scores on `fresh`, images and labels (N, S, S)."
    first = FIRST + 2*PATIENTS*number
    judged, others = of_patients(range(first, first + PATIENTS), 2), of_patients(range(first + PATIENTS, first + 2*PATIENTS))
    images, labels = (np.concatenate([j[:, 0], j[:, 1], o[:, 0], f]) for j, o, f in zip(judged, others, fresh))
    alike, place = similarity(images), np.arange(PATIENTS)      # rows: judged slices, their neighbors, other patients, fresh ones
    ask, rows = {"reported": place, "true": np.arange(3*PATIENTS, len(images))}, []
    for share in SHARES:
        train = np.where(place < PATIENTS*share//100, PATIENTS + place, 2*PATIENTS + place)
        row = dict(share=share, repetition=number)
        for name, predict in PREDICTORS.items():
            for which, asked in ask.items():
                found = ConfusionMatrix().update(predict(alike, images, labels, train, asked), labels[asked])
                row[f"{name}_{which}"] = found.miou(classes=(0, 1))
        rows.append(row)
    return rows


def fresh_patients() -> tuple: return tuple(part[:, 0] for part in of_patients(FRESH))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--repetitions", type=int, default=REPETITIONS)
    p.add_argument("--dry", action="store_true", help="write nothing")
    a = p.parse_args()
    start, fresh, rows = time.perf_counter(), fresh_patients(), []
    for number in range(a.repetitions):
        rows += repetition(number, fresh)
        if number + 1 < a.repetitions and number % 20 != 19: continue
        table, last = pd.DataFrame(rows).sort_values(["share", "repetition"]), FIRST + 2*PATIENTS*(number + 1) - 1
        print(f"{number + 1} repetitions, {time.perf_counter() - start:.0f} s", flush=True)
        if not a.dry: write_table("leaks.csv", f"leaks.py, seeds {FIRST} to {last}, fresh patients {FRESH[0]} to {FRESH[-1]}", table)
    means = lambda rows: rows.groupby("share").mean().drop(columns="repetition").round(3)
    print(means(table))
    if a.dry: print(means(pd.read_csv(TABLES/"leaks.csv", comment="#").query(f"repetition < {a.repetitions}")))


if __name__ == "__main__": main()
