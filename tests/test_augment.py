"""Augmentation and loaders: each transform draws for itself; loader processes stay, learn the epoch and change no bit."""
import functools, multiprocessing, os, random, signal
from itertools import product

import albumentations as A
import numpy as np
import pytest
import torch
from scipy.stats import chi2_contingency, spearmanr
from scipy.stats.contingency import crosstab

from covid_nbdev.augment import dataloaders, seed_transforms, ShuffledSampler, SliceDataset, train_transforms
from covid_nbdev.core import BadInput
from covid_nbdev.hu import Standardizer

SIDE, N = 40, 1000
PARAMETERS = ["angle", "crop height", "crop y", "crop x", "flip", "gain", "offset"]
JITTER = dict(gain=.15, offset_hu=75.)
IMAGE = np.zeros((SIDE, SIDE), np.float32)


class OneSlice:
    "In the place of a store: the same slice under each number."
    images, labels = np.zeros((1, SIDE, SIDE), np.int16), np.zeros((1, SIDE, SIDE), np.uint8)


def recipe(): return train_transforms(32, SIDE, rotate=180, **JITTER)


def items(seed=0, n=N + 1):
    return SliceDataset(OneSlice, np.zeros(n, int), Standardizer(0, 1), recipe(), seed)


def drawn(transforms, rng=np.random.default_rng(0)):
    "What the last call drew: angle, crop height, its place from 0 to 1, flip or not, gain, offset."
    rotate, crop, flip, jitter = (t.get_applied_params() for t in transforms.transforms)
    x, y, _, bottom = crop["crop_coords"]
    height = bottom - y
    # one of so many places with equal probability; spread within its share, all heights have the same distribution
    room = SIDE - height + 1
    y, x = (np.array([y, x]) + rng.random(2))/room
    return np.arctan2(rotate["matrix"][1, 0], rotate["matrix"][0, 0]), height, y, x, bool(flip), jitter["g"], jitter["o"]


@functools.cache      # several tests look at the same draws
def drawn_by(seed, epoch=0, n=N):
    dataset = items(seed)
    def draw(i):
        dataset[epoch, i]
        return drawn(dataset.transforms)
    return np.array([draw(i) for i in range(n)])


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
    pairs = [(i, j) for i, j in product(range(len(PARAMETERS)), repeat=2) if b is not a or i < j]
    def p(u, v): return min(chi2_contingency(crosstab(quarters(u), quarters(v)).count).pvalue, spearmanr(u, v).pvalue)
    return [(PARAMETERS[i], PARAMETERS[j]) for i, j in pairs if p(a[:, i], b[:, j]) < most]


def flips_by_side(a):
    "The 2×2 table. Rows: turned to the left, to the right. Columns: mirrored or not."
    return crosstab(a[:, 0] < 0, a[:, 4] == 0, levels=[(True, False), (False, True)]).count


def check_independent(a):
    table = flips_by_side(a)
    assert table.min() > N/5 and chi2_contingency(table).pvalue > 1e-3, table
    assert coupled(a, a) == []


# ---- each transform its own draw

@pytest.mark.parametrize("seed", [0, 7, 42])
def test_flip_and_turn_are_independent(seed):
    "The 2×2 table, and every pair of random parameters, by the data set's way and by the recipe's own."
    check_independent(drawn_by(seed, epoch=seed))
    for way in (drawn_anew, drawn_in_a_row): check_independent(way(recipe(), seed))


@pytest.mark.parametrize("way", [drawn_anew, drawn_in_a_row])
def test_these_checks_can_fail(way):
    "On albumentations' own set_random_seed: slices are mirrored exactly when they are turned to one side."
    a = way(A.Compose(recipe().transforms), 0)
    assert sorted(np.sort(flips_by_side(a).ravel()) > 0) == [False, False, True, True] and ("angle", "flip") in coupled(a, a)
    with pytest.raises(AssertionError): check_independent(a)


def test_neighbors_are_independent():
    "The next index, epoch and seed, and a seed and epoch with the same sum: no parameter of one tells of one of the other."
    here, epoch, seed, both = drawn_by(1, 1, N + 1), drawn_by(1, 2), drawn_by(2, 1), drawn_by(0, 2)
    here, index = here[:N], here[1:]
    for there, shared in [(index, N - 1), (epoch, 0), (seed, 0), (both, 0)]:
        assert coupled(here, there) == [] and len(set(here[:, 0]) & set(there[:, 0])) == shared


def test_the_same_again_to_the_last_bit():
    "A slice depends on seed, epoch and index alone: not on what was asked before, nor on the program's own random numbers."
    rng = np.random.default_rng(0)
    class Noise:
        images, labels = rng.integers(-1000, 400, (4, SIDE, SIDE)).astype(np.int16), rng.integers(0, 4, (4, SIDE, SIDE)).astype(np.uint8)
    def fresh(seed=3): return SliceDataset(Noise, np.arange(4), Standardizer(-500, 300), train_transforms(32, SIDE, **JITTER), seed)
    def same(a, b): return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    dataset, other = fresh(), fresh()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    wanted = {(e, i): other[e, i] for e in (1, 0) for i in (3, 1, 0, 2)}
    assert state == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    for dataset.epoch in (0, 1):
        for i in range(4): assert same(dataset[i], wanted[dataset.epoch, i]) and same(dataset[np.int64(i)], wanted[dataset.epoch, i])
        assert same(dataset[-1], wanted[dataset.epoch, 3]) and len(list(dataset)) == 4
    assert not same(wanted[0, 1], wanted[1, 1]) and not same(fresh(4)[0, 1], wanted[0, 1])
    with pytest.raises(IndexError): dataset[4]


def test_any_recipe_is_seeded_part_by_part():
    "Nested, of plain albumentations, and inside a data set; the same seed gives the same, None never the same."
    def parts(recipe): return [recipe] + [p for t in recipe.transforms for p in (parts(t) if hasattr(t, "transforms") else [t])]
    def plain(): return A.Compose([A.Rotate(p=.5), A.OneOf([A.HorizontalFlip(), A.Sequential([A.VerticalFlip(p=.5)])]), A.GaussNoise(p=.5)])
    def first(recipe): return [(p.py_random.random(), p.random_generator.random()) for p in parts(recipe)]
    recipe = plain()
    seed_transforms(recipe, 5, 1, 2)
    draws = first(recipe)
    assert len(draws) == 7 and len({d for pair in draws for d in pair}) == 14
    seed_transforms(recipe, 5, 1, 2)
    assert first(recipe) == draws
    SliceDataset(OneSlice, [0]*3, Standardizer(0, 1), recipe, seed=5)[1, 2]       # its generators have moved on by what it drew
    assert len({p.py_random.random() for p in parts(recipe)}) == 7
    ours, again = train_transforms(32, SIDE), train_transforms(32, SIDE)
    assert not set(first(ours)) & set(first(again))
    for recipe in (ours, again): recipe.set_random_seed(2**40)
    assert first(ours) == first(again) and len(set(first(ours))) == 5
    ours.set_random_seed(None), again.set_random_seed(None)
    assert not set(first(ours)) & set(first(again))


# ---- another scale of HU

def noise(seed=0):
    rng = np.random.default_rng(seed)
    return dict(image=rng.integers(-1000, 400, (SIDE, SIDE)).astype(np.float32), mask=rng.integers(0, 4, (SIDE, SIDE)).astype(np.uint8))


def asked(transforms, *numbers):
    seed_transforms(transforms, *numbers)
    return transforms(**noise())


def test_without_jitter_nothing_changes():
    "To the last bit what the three transforms gave before there was a fourth; with it they move a slice and its mask as before."
    three, plain, jittered = A.Compose(recipe().transforms[:3]), train_transforms(32, SIDE, rotate=180), recipe()
    for i in range(20):
        before, now, other = (asked(t, 3, 1, i) for t in (three, plain, jittered))
        assert all(np.array_equal(before[k], now[k]) for k in before) and plain.transforms[3].get_applied_params() == {}
        g, o = map(jittered.transforms[3].get_applied_params().get, "go")
        assert other["image"].dtype == np.float32 and np.array_equal(other["mask"], now["mask"])
        assert np.allclose(other["image"], (now["image"].astype(float) + 1000)*g - 1000 + o, atol=1e-3, rtol=0)


def test_jitter_is_uniform_in_its_range():
    "Both ends are reached, the mean is the scale as it is, and one alone draws as it does beside the other."
    a = drawn_by(0)[:, 5:]
    for values, middle, half in zip(a.T, (1, 0), (.15, 75)):
        u = (values - middle)/half
        assert abs(u).max() <= 1 and abs(u).max() > .98 and abs(np.histogram(u, 4, (-1, 1))[0] - N/4).max() < 4*(N*3/16)**.5
    alone = [train_transforms(32, SIDE, rotate=180, **{name: JITTER[name]}) for name in JITTER]
    for k, transforms in enumerate(alone):
        asked(transforms, 0, 0, 5)
        drawn = list(map(transforms.transforms[3].get_applied_params().get, "go"))
        assert drawn[k] == a[5, k] and drawn[1 - k] == (0, 1)[k]


def test_corners_have_the_air_of_the_picture():
    "An empty slice stays one value everywhere, to the last corner, with its offset; without one, gain leaves air where it is."
    empty = dict(image=np.full((SIDE, SIDE), -1000, np.float32))
    for jitter, spread in ((JITTER, True), (dict(gain=.15), False)):
        transforms, values = train_transforms(32, SIDE, rotate=180, **jitter), []
        for i in range(8):
            seed_transforms(transforms, 0, 0, i)
            image = transforms(**empty)["image"]
            assert np.ptp(image) < .01
            values.append(float(image.mean()))
        assert (np.ptp(values) > 50) == spread


@pytest.mark.parametrize("wrong", [dict(gain=-.1), dict(gain=1), dict(offset_hu=-1), dict(gain=np.nan), dict(offset_hu=np.inf)], ids=str)
def test_jitter_that_cannot_be(wrong):
    with pytest.raises(BadInput, match="gain from 0"): train_transforms(32, SIDE, **wrong)


def test_jitter_by_the_loaders(store):
    "Other images under the same labels, the same ones whatever the number of processes; validation sees none of it."
    def loaders(workers=0, **jitter): return dataloaders(store, size=32, batch_size=4, seed=5, workers=workers, rotate=0, smallest_crop=1, flip=0, **jitter)
    plain, jittered = loaders(), loaders(**JITTER)
    (x, y), (other, same_labels) = next(iter(plain.train)), next(iter(jittered.train))
    assert torch.equal(y, same_labels) and not any(torch.equal(a, b) for a, b in zip(x, other))
    assert equal(epochs_of(jittered.train)[0], epochs_of(loaders(2, **JITTER).train)[0])
    assert equal(epochs_of(plain.valid, [1])[0], epochs_of(jittered.valid, [1])[0])


# ---- loader processes

def loader_of(store, workers, method=None):
    loader = dataloaders(store, size=32, batch_size=4, seed=5, workers=workers).train
    if method: loader.multiprocessing_context = method
    return loader


def epochs_of(loader, numbers=(1, 2)):
    "All images and labels of these epochs, and which processes were there at the end of each."
    tensors, processes = [], []
    for loader.dataset.epoch in numbers:
        tensors += [t for batch in loader for t in batch]
        processes.append({p.pid for p in multiprocessing.active_children()})
    return tensors, processes


def equal(a, b): return len(a) == len(b) > 0 and all(map(torch.equal, a, b))


@pytest.mark.parametrize("method, workers", [("fork", 2), ("spawn", 1)])      # a spawned one imports torch: seconds
def test_loader_processes_stay_and_learn_the_epoch(store, method, workers):
    "Slice for slice what the main process makes; the same processes in every epoch, after a half-used one and Ctrl-C, too."
    wanted = epochs_of(loader_of(store, 0))[0]
    before, loader = {p.pid for p in multiprocessing.active_children()}, loader_of(store, workers, method)
    tensors, (first, second) = epochs_of(loader)
    assert equal(tensors, wanted) and not equal(wanted[:len(wanted)//2], wanted[len(wanted)//2:])
    assert first == second and len(first - before) == workers
    half = iter(loader)
    next(half)
    for pid in first - before: os.kill(pid, signal.SIGINT)      # a notebook's Interrupt reaches them, too
    again, after = epochs_of(loader, (1,))
    assert equal(again, wanted[:len(wanted)//2]) and after == [first]
    del loader, half
    assert not {p.pid for p in multiprocessing.active_children()} - before


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_of_accelerate_share_out_each_batch(store, workers):
    "Its sharded loaders hand on the pairs: put together, their parts are the batches of one process."
    from accelerate.data_loader import prepare_data_loader
    wanted = epochs_of(loader_of(store, 0))[0]
    shards = [epochs_of(prepare_data_loader(loader_of(store, workers), num_processes=2, process_index=i, split_batches=True,
                                            put_on_device=False))[0] for i in (0, 1)]
    assert equal([torch.cat(pair) for pair in zip(*shards)], wanted)
