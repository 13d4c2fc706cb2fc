"""Counts against brute force on phantom slices, in constant memory."""
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from covid_nbdev.eda import class_balance, class_pixels, hu_histogram, show_samples
from covid_nbdev.core import BadInput
from covid_nbdev.masks import CLASSES
from covid_nbdev.phantom import make_slice


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


def test_pixels_of_the_rows_asked_for(store):
    found = class_pixels(store, rows=[16, 4])
    assert (found[0] == 0).all() and (found[1] == [(store.labels[4] == c).sum() for c in range(4)]).all()
    assert (class_pixels(store)[4] == found[1]).all() and len(class_pixels(store)) == 18


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
    hu_histogram(store); class_balance(store)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < store.images.nbytes/2, f"{peak/1e6:.1f} MB for {store.images.nbytes/1e6:.1f} MB of slices"


def test_show_samples(store):
    import matplotlib.pyplot as plt
    fig = show_samples(store, [0, 5, 17], columns=2)
    assert [ax.get_title() for ax in fig.axes] == ["radiopedia 0", "medseg 1", "test_medseg 1", ""]
    plt.close(fig)
