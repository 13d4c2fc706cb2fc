"""Near-duplicates planted among phantom slices, and the known pair in real CT; the table of the leak laboratory."""
import sys
import tracemalloc
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

from conftest import ROOT, real_data
from covid_nbdev.core import BadInput
from covid_nbdev.leaks import content_box, folds, kept_together, near_duplicates, similarity
from covid_nbdev.phantom import make_slice


@pytest.fixture(scope="module")
def images():
    "Sixteen computed slices, in both styles."
    return np.stack([make_slice(seed, 96, "radiopaedia" if seed < 4 else "medseg")[0] for seed in range(16)])


def small(hu, side): return cv2.resize(hu[content_box(hu)].astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)


def test_content_box_ignores_single_noisy_pixels():
    hu = np.full((100, 100), -1000.)
    hu[20:50, 30:90] = 0
    hu[5, 5] = hu[95, 60] = 500
    assert content_box(hu) == (slice(20, 50), slice(30, 90))


def plant(hu, side, top, left, gain=.9, offset=-60):
    "The same content at another size and place, on another scale."
    copy = np.full_like(hu, -1000)
    copy[top:top + side, left:left + side] = small(hu, side)*gain + offset
    return copy


@pytest.mark.parametrize("side, top, left", [(50, 0, 46), (80, 10, 3), (96, 0, 0)])
def test_finds_a_planted_copy(images, side, top, left):
    images = np.concatenate([images, [plant(images[6], side, top, left)]])
    found = near_duplicates(images, top=5)
    assert found.loc[0, ["first", "second"]].tolist() == [6, len(images) - 1]
    assert found.similarity[0] > .97 and found.similarity[0] > found.similarity[1] + .02
    assert found.similarity.is_monotonic_decreasing and len(found) == 5
    pd.testing.assert_frame_equal(found, near_duplicates(images[..., None], top=5))


def test_groups_give_only_pairs_between_them(images):
    split = np.array(["train"]*4 + ["valid"]*3 + ["train"]*7 + ["test"]*2)
    found = near_duplicates(images, top=None, groups=split)
    assert (split[found["first"]] != split[found["second"]]).all()
    assert len(found) == 11*3 + 11*2 + 3*2


def test_similarity_is_a_correlation(images):
    alike = similarity(images)
    np.testing.assert_allclose(np.diag(alike), 1, atol=1e-5)
    np.testing.assert_allclose(alike, alike.T, atol=1e-6)
    both = [small(hu, 48).ravel() for hu in np.clip(images[[4, 9]], -1000, 400)]
    assert alike[4, 9] == pytest.approx(np.corrcoef(*both)[0, 1], abs=1e-5)
    empty = np.full((2, 64, 64), -1000, np.int16)
    assert not similarity(empty).any() and len(near_duplicates(empty[:1])) == 0


def test_memory_does_not_grow_with_the_slices():
    "Slices come one at a time: here from something that makes each of them when it is asked for."
    class Lazy:
        def __len__(self): return 120
        def __getitem__(self, i):
            if i == 120: raise IndexError
            return np.random.default_rng(i).integers(-1000, 100, (256, 256), np.int16)
    tracemalloc.start()
    near_duplicates(Lazy())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120*256*256, f"{peak/1e6:.1f} MB for 15.7 MB of slices"


@pytest.mark.parametrize("seed", range(6))
def test_kept_together_follows_every_chain(seed):
    "Against the naive way: the smaller number of two linked slices spreads until nothing changes."
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 25))
    patients = np.array(["", "A", "B", "C"])[rng.integers(0, 4, n)*(rng.random(n) < .4)]
    alike = rng.random((n, n)) < 1/n
    alike |= alike.T
    number = list(range(n))
    for _ in range(n):
        for i in range(n):
            for j in range(n):
                if alike[i, j] or patients[i] == patients[j] != "": number[i] = number[j] = min(number[i], number[j])
    found = kept_together(list(patients), alike)
    assert ((found[:, None] == found) == (np.array(number)[:, None] == number)).all()


def store_of(images, patients, split="train"):
    "What `folds` looks at of a store."
    return SimpleNamespace(images=images, index=pd.DataFrame({"patient": patients, "split": split}))


@pytest.mark.parametrize("seed", range(12))
def test_folds_never_separate_a_patient_or_twins(seed):
    "Random pictures, patients of one to four slices, some unknown; twins planted, also between patients and in chains."
    rng = np.random.default_rng(seed)
    n, k = int(rng.integers(20, 60)), int(rng.integers(2, 6))
    images = [cv2.resize(rng.normal(-300, 300, (8, 8)), (64, 64), interpolation=cv2.INTER_NEAREST) for _ in range(n)]
    for _ in range(6):
        one, other = rng.choice(n, 2, replace=False)
        images[other] = images[one]*.8 - 50
    patients = np.array([f"P{v}" if v < n//3 else "" for v in rng.integers(0, n//2, n)], object)
    split = np.where(rng.random(n) < .2, "test", np.where(rng.random(n) < .3, "valid", "train"))
    found = folds(store_of(np.array(images), patients, split), k, seed)
    alike, labeled = similarity(images), np.flatnonzero(split != "test")
    assert len(found) == k
    np.testing.assert_array_equal(np.sort(np.concatenate([valid for _, valid in found])), labeled)
    for train, valid in found:
        assert len(train) and len(valid) and sorted([*train, *valid]) == labeled.tolist()
        assert not (set(patients[train]) & set(patients[valid])) - {""}
        assert alike[np.ix_(train, valid)].max() < .95


def test_folds_are_even_drawn_by_the_seed_and_of_the_rows_asked_for(images):
    store = store_of(images, [""]*16)
    sizes = [len(valid) for _, valid in folds(store, 5)]
    assert max(sizes) - min(sizes) <= 1
    def parts(**how): return [valid.tolist() for _, valid in folds(store, 4, **how)]
    assert parts() == parts() and parts(seed=1) != parts()
    assert sorted(sum(parts(rows=[9, 3, 4, 1]), [])) == [1, 3, 4, 9]
    with pytest.raises(BadInput, match="4 folds.*2 to 3"): folds(store_of(images, list("aabbcc") + ["c"]*10), 4)


@pytest.mark.skipif(real_data() is None, reason="real CT not found: set COVID_REAL_DATA")
def test_real_medseg_has_its_known_twins():
    with np.load(real_data()/"medseg_slices.npz", allow_pickle=False) as z:
        number, gray, box, gain, offset = (z[k] for k in ("slice_id", "images", "box", "hu_gain", "hu_offset"))
    hu = np.full(gray.shape, -1000, np.float32)
    for k, (y, x, h, w) in enumerate(box):
        at = np.s_[k, y:y + h, x:x + w]
        hu[at] = gray[at]*gain[k] + offset[k]
    found = near_duplicates(hu, top=4)
    pairs = [tuple(int(number[i]) for i in pair) for pair in found[["first", "second"]].to_numpy()]
    assert pairs[0] == (10, 43) and found.similarity[0] > .995
    assert (5, 46) in pairs and found.similarity[1] < .98
    uncropped = near_duplicates(hu, top=4, crop=False)
    assert (10, 43) not in [tuple(int(number[i]) for i in pair) for pair in uncropped[["first", "second"]].to_numpy()]
    found = near_duplicates(hu[:88], top=1, groups=np.arange(88) < 24)      # validation against training
    assert tuple(number[found.iloc[0][["first", "second"]].astype(int)]) == (10, 43)


# ---- the leak laboratory

@pytest.fixture(scope="module")
def laboratory():
    sys.path.insert(0, str(ROOT/"benchmarks"))
    import leaks
    return leaks, pd.read_csv(leaks.TABLES/"leaks.csv", comment="#")


def test_laboratory_is_complete(laboratory):
    "Each repetition at each share, 25 to 100 % of eight patients; every score is one."
    leaks, table = laboratory
    assert table[["share", "repetition"]].values.tolist() == [[s, r] for s in leaks.SHARES for r in range(leaks.REPETITIONS)]
    assert table.iloc[:, 2:].stack().between(0, 1).all() and all(s*leaks.PATIENTS % 100 == 0 for s in leaks.SHARES)
    last = leaks.FIRST + 2*leaks.PATIENTS*leaks.REPETITIONS
    assert last < 1_000_000 and not set(leaks.FRESH) & set(range(leaks.FIRST, last))


def test_neighbors_are_slices_of_the_patient(laboratory):
    leaks, _ = laboratory
    hu, labels = leaks.neighbors(40_003, 2)
    expected = make_slice(40_003, leaks.SIDE, "radiopaedia")
    assert (hu[0] == expected[0]).all() and (labels[0] == expected[1]).all()
    assert similarity(hu)[0, 1] > .95 and (hu[0] != hu[1]).any()


@pytest.mark.slow
def test_one_repetition_again(laboratory):
    "What is reported, at every share. (The 60 patients that say what is true take longer: three of them will do.)"
    leaks, table = laboratory
    fresh = tuple(part[:, 0] for part in leaks.of_patients(leaks.FRESH[:3]))
    again = pd.DataFrame(leaks.repetition(7, fresh))
    shipped = table[table.repetition == 7].reset_index(drop=True)
    for name in leaks.PREDICTORS: np.testing.assert_allclose(again[f"{name}_reported"], shipped[f"{name}_reported"], atol=2e-4)
