"""Counts against brute force on phantom slices; near-duplicates planted in them, and the known pair in real CT."""
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from covid_nbdev.eda import class_balance, hu_histogram, hu_percentiles, show_samples
from covid_nbdev.leaks import content_box, near_duplicates, shrink, similarity
from covid_nbdev.core import BadInput
from covid_nbdev.masks import CLASSES
from covid_nbdev.phantom import make_slice

REAL = Path(os.environ.get("COVID_REAL_DATA") or Path(__file__).resolve().parents[2]/"shared"/"data")/"medseg_slices.npz"


@pytest.fixture(scope="module")
def store():
    "Four slices in Radiopaedia's style, twelve in MedSeg's, two without labels."
    styles = ["radiopaedia"]*4 + ["medseg"]*14
    slices = [make_slice(seed=seed, size=96, style=style) for seed, style in enumerate(styles)]
    images, labels = (np.stack(x) for x in zip(*slices))
    labels[-2:] = 255
    labels[0] = np.where(labels[0] < 2, 2, labels[0])       # one slice without lesion
    index = pd.DataFrame({"source": ["radiopedia"]*4 + ["medseg"]*12 + ["test_medseg"]*2,
                          "number": [*range(4), *range(12), *range(2)], "patient": "",
                          "split": ["train"]*4 + ["valid"]*3 + ["train"]*9 + ["test"]*2})
    return SimpleNamespace(images=images.astype(np.int16), labels=labels, index=index)


def test_balance_by_brute_force(store):
    table = class_balance(store)
    assert list(table.index) == ["radiopedia", "medseg"]     # the test slices have no labels
    for source, rows in [("radiopedia", slice(0, 4)), ("medseg", slice(4, 16))]:
        labels = store.labels[rows]
        for c, name in enumerate(CLASSES):
            assert table.loc[source, f"pixels_{name}"] == pytest.approx((labels == c).mean())
            assert table.loc[source, f"slices_{name}"] == pytest.approx(np.mean([(m == c).any() for m in labels]))
        assert table.loc[source, "slices_without_lesion"] == pytest.approx(np.mean([not (m < 2).any() for m in labels]))
        assert table.loc[source, "labeled_slices"] == len(labels)
    assert table.loc["radiopedia", "slices_without_lesion"] >= .25


def test_balance_without_labels_is_refused(store):
    bare = SimpleNamespace(images=store.images[-2:], labels=store.labels[-2:], index=store.index[-2:].reset_index())
    with pytest.raises(BadInput, match="no labeled slice"): class_balance(bare)


def test_histogram_by_brute_force(store):
    table = hu_histogram(store, bin_hu=20)
    assert table.to_numpy().sum() == store.images.size and (table.dtypes == np.int64).all()
    edges = np.arange(-1600, 901, 20)
    for source in store.index.source.unique():
        rows = (store.index.source == source).to_numpy()
        for c, name in enumerate((*CLASSES, "unlabeled")):
            hu = store.images[rows][store.labels[rows] == (255 if c == 4 else c)]
            if (source, name) in table: assert (np.histogram(hu.clip(-1600, 899), edges)[0] == table[source, name]).all()
            else: assert hu.size == 0
    assert hu_histogram(store, rows=[0, 1]).columns.get_level_values(0).unique().tolist() == ["radiopedia"]


def test_percentiles_are_numpys_to_a_bin(store):
    table = hu_percentiles(hu_histogram(store), (5, 50, 95))
    hu = store.images[4:16][store.labels[4:16] == 2]
    assert np.abs(table.loc[("medseg", "lungs_other")] - np.percentile(hu, [5, 50, 95])).max() <= 10


def test_shrink_keeps_the_mean_and_upsamples():
    picture = np.random.default_rng(0).normal(size=(53, 67))
    assert shrink(picture, 48).mean() == pytest.approx(picture.mean())
    np.testing.assert_allclose(shrink(picture[:48, :48], 48), picture[:48, :48])
    np.testing.assert_allclose(shrink(picture[:2, :2], 4), np.kron(picture[:2, :2], np.ones((2, 2))))
    np.testing.assert_allclose(shrink(picture[:48, :36], 12), picture[:48, :36].reshape(12, 4, 12, 3).mean((1, 3)))


def test_content_box_ignores_single_noisy_pixels():
    hu = np.full((100, 100), -1000.)
    hu[20:50, 30:90] = 0
    hu[5, 5] = hu[95, 60] = 500
    assert content_box(hu) == (slice(20, 50), slice(30, 90))


def plant(hu, side, top, left, gain=.9, offset=-60):
    "The same content at another size and place, on another scale."
    copy = np.full_like(hu, -1000)
    copy[top:top + side, left:left + side] = shrink(hu[content_box(hu)], side)*gain + offset
    return copy


@pytest.mark.parametrize("side, top, left", [(50, 0, 46), (80, 10, 3), (96, 0, 0)])
def test_finds_a_planted_copy(store, side, top, left):
    images = np.concatenate([store.images, [plant(store.images[6], side, top, left)]])
    found = near_duplicates(images, top=5)
    assert found.loc[0, ["first", "second"]].tolist() == [6, len(images) - 1]
    assert found.similarity[0] > .97 and found.similarity[0] > found.similarity[1] + .02
    assert found.similarity.is_monotonic_decreasing and len(found) == 5
    pd.testing.assert_frame_equal(found, near_duplicates(images[..., None], top=5))


def test_groups_give_only_pairs_between_them(store):
    split = store.index.split
    found = near_duplicates(store.images, top=None, groups=split)
    assert (split.to_numpy()[found["first"]] != split.to_numpy()[found["second"]]).all()
    sizes = split.value_counts()
    assert len(found) == (len(split)**2 - (sizes**2).sum())//2


def test_similarity_is_a_correlation(store):
    alike = similarity(store.images)
    np.testing.assert_allclose(np.diag(alike), 1, atol=1e-5)
    np.testing.assert_allclose(alike, alike.T, atol=1e-6)
    small = [shrink(h[content_box(h)], 48).ravel() for h in np.clip(store.images[[4, 9]], -1000, 400)]
    assert alike[4, 9] == pytest.approx(np.corrcoef(*small)[0, 1], abs=1e-5)
    empty = np.full((2, 64, 64), -1000, np.int16)
    assert not similarity(empty).any() and len(near_duplicates(empty[:1])) == 0


def test_memory_does_not_grow_with_the_slices(tmp_path):
    n, side = 120, 256
    rng = np.random.default_rng(0)
    with open(tmp_path/"images.npy", "wb") as f:
        np.lib.format.write_array_header_1_0(f, {"descr": "<i2", "fortran_order": False, "shape": (n, side, side)})
        for _ in range(n): f.write(rng.integers(-1000, 100, (side, side), np.int16).tobytes())
    store = SimpleNamespace(images=np.load(tmp_path/"images.npy", mmap_mode="r"),
                            labels=np.broadcast_to(np.uint8(2), (n, side, side)),
                            index=pd.DataFrame({"source": ["medseg"]*n, "number": range(n)}))
    tracemalloc.start()
    hu_histogram(store); class_balance(store); near_duplicates(store.images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < store.images.nbytes/2, f"{peak/1e6:.1f} MB for {store.images.nbytes/1e6:.1f} MB of slices"


def test_show_samples(store):
    import matplotlib.pyplot as plt
    fig = show_samples(store, [0, 5, 17], columns=2)
    assert [ax.get_title() for ax in fig.axes] == ["radiopedia 0", "medseg 1", "test_medseg 1", ""]
    plt.close(fig)


def test_imports_no_torch():
    subprocess.run([sys.executable, "-c", "import covid_nbdev.eda, sys; assert 'torch' not in sys.modules"], check=True)


@pytest.mark.skipif(not REAL.is_file(), reason="real CT not found: set COVID_REAL_DATA")
def test_real_medseg_has_its_known_twins():
    with np.load(REAL, allow_pickle=False) as z:
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
