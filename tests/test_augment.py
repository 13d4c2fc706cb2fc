"""Augmentation and loaders: each transform draws for itself; loader processes stay, learn the epoch and change no bit."""
import multiprocessing, os, random, signal
from itertools import product

import albumentations as A
import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, spearmanr
from scipy.stats.contingency import crosstab

from covid_nbdev.augment import FILL, dataloaders, seed_transforms, ShuffledSampler, SliceDataset, train_transforms
from covid_nbdev.hu import Standardizer

SIDE, N = 40, 1000
PARAMETERS = ["angle", "crop height", "crop y", "crop x", "flip"]
IMAGE = np.zeros((SIDE, SIDE), np.float32)


class OneSlice:
    "In the place of a store: the same slice under each number."
    images, labels = np.zeros((1, SIDE, SIDE), np.int16), np.zeros((1, SIDE, SIDE), np.uint8)


def items(seed=0, n=N + 1):
    return SliceDataset(OneSlice, np.zeros(n, int), Standardizer(0, 1), train_transforms(32, SIDE, rotate=180), seed)


def drawn(transforms, rng=np.random.default_rng(0)):
    "What the last call drew: angle, crop height, its place from 0 to 1, flip or not."
    rotate, crop, flip = (t.get_applied_params() for t in transforms.transforms)
    x, y, _, bottom = crop["crop_coords"]
    height = bottom - y
    # one of so many places with equal probability; spread within its share, all heights have the same distribution
    room = SIDE - height + 1
    y, x = (np.array([y, x]) + rng.random(2))/room
    return np.arctan2(rotate["matrix"][1, 0], rotate["matrix"][0, 0]), height, y, x, bool(flip)


def drawn_by(dataset, epoch=0, first=0):
    def draw(i):
        dataset[epoch, i]
        return drawn(dataset.transforms)
    return np.array([draw(i) for i in range(first, first + N)])


def drawn_anew(transforms, seed):
    "Seeded for each slice, as lessons do. Of plain albumentations it is its own way."
    def draw(i):
        transforms.set_random_seed(seed*N + i)
        transforms(image=IMAGE)
        return drawn(transforms)
    return np.array([draw(i) for i in range(N)])


def drawn_in_a_row(transforms, seed):
    "Seeded once, as plain loops do."
    transforms.set_random_seed(seed)
    def draw(i):
        transforms(image=IMAGE)
        return drawn(transforms)
    return np.array([draw(i) for i in range(N)])


def coupled(a, b, most=1e-4):
    "Pairs of parameters that are not independent, by chi-square over their quarters or by rank correlation."
    def quarters(v): return v if len(set(v)) < 3 else np.digitize(v, np.quantile(v, [.25, .5, .75]))
    pairs = [(i, j) for i, j in product(range(5), repeat=2) if b is not a or i < j]
    def p(u, v): return min(chi2_contingency(crosstab(quarters(u), quarters(v)).count).pvalue, spearmanr(u, v).pvalue)
    return [(PARAMETERS[i], PARAMETERS[j]) for i, j in pairs if p(a[:, i], b[:, j]) < most]


def flips_by_side(a):
    "The 2×2 table. Rows: turned to the left, to the right. Columns: mirrored or not."
    return crosstab(a[:, 0] < 0, a[:, 4] == 0, levels=[(True, False), (False, True)]).count


def check_independent(a):
    table = flips_by_side(a)
    assert table.min() > N/5 and chi2_contingency(table).pvalue > 1e-3, table
    assert coupled(a, a) == []
