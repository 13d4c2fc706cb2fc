"""The store: constant memory, any dtype and form that Kaggle's layout allows, and what is counted on the way."""
import json, subprocess, sys

import numpy as np
import pandas as pd
import pytest

from conftest import ROOT
from covid_nbdev import etl
from covid_nbdev.competition import find_competition_data
from covid_nbdev.etl import Store, build_store, split


def change(folder, stem, f): np.save(folder/f"{stem}.npy", f(np.load(folder/f"{stem}.npy")))


def same(a, b): return np.array_equal(a.images, b.images) and np.array_equal(a.labels, b.labels) and a.index.equals(b.index)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float64])
def test_masks_of_any_dtype(dtype, copy_layout, store, tmp_path):
    for stem in ("masks_medseg", "masks_radiopedia"): change(copy_layout, stem, lambda a: a.astype(dtype))
    assert same(build_store(copy_layout, tmp_path/"store"), store)


def test_images_without_last_axis_and_other_dtypes(copy_layout, store, tmp_path):
    change(copy_layout, "images_medseg", lambda a: a[..., 0].astype(np.float64))
    change(copy_layout, "images_radiopedia", lambda a: a.astype(np.int16))
    change(copy_layout, "test_images_medseg", lambda a: np.asfortranarray(a[..., 0]))
    assert same(build_store(copy_layout, tmp_path/"store"), store)


def test_medseg_alone_without_test_set(copy_layout, tmp_path):
    for name in ("images_radiopedia", "masks_radiopedia", "test_images_medseg"): (copy_layout/f"{name}.npy").unlink()
    (copy_layout/"patients.csv").unlink()
    s = build_store(copy_layout, tmp_path/"store")
    assert set(s.index["source"]) == {"medseg"} and (s.index["patient"] == "").all() and len(split(s).test) == 0


def test_index(store):
    assert list(pd.read_csv(store.path/"index.csv").columns) == ["source", "number", "patient", "split"]
    assert store.index.groupby("source").size().to_dict() == {"radiopedia": 8, "medseg": 16, "test_medseg": 2}
    rows = split(store)
    assert store.index.iloc[rows.valid]["number"].tolist() == [0, 1, 2, 3]          # the first quarter of 16
    assert sorted([*rows.train, *rows.valid, *rows.test]) == list(range(26))


def test_odd_pixels_are_folded_and_counted(copy_layout, tmp_path):
    def odd(a):
        a[0, 0, :3] = 0                      # three pixels without a label
        a[1, 0, 0] = [1, 1, 0, 0]            # ground glass and consolidation: consolidation
        a[1, 0, 1] = [1, 0, 1, 1]            # ground glass, lung, background: ground glass
        return a
    change(copy_layout, "masks_medseg", odd)
    s = build_store(copy_layout, tmp_path/"store")
    first = split(s).valid[0]
    assert s.labels[first, 0, :3].tolist() == [3, 3, 3] and s.labels[first + 1, 0, :2].tolist() == [1, 0]
    report = json.loads((tmp_path/"store"/"etl.json").read_text())
    assert (report["medseg"]["unlabeled_px"], report["medseg"]["several_labels_px"]) == (3, 2)
    assert (report["radiopedia"]["unlabeled_px"], report["radiopedia"]["several_labels_px"]) == (0, 0)


def test_found_below(layout, tmp_path, monkeypatch):
    assert find_competition_data(layout.parent) == layout
    monkeypatch.setenv("COVID_DATA", str(layout.parent))
    assert find_competition_data() == layout
    monkeypatch.setenv("COVID_DATA", str(tmp_path))
    assert find_competition_data() is None


def test_memory_does_not_grow_with_the_slices(tmp_path):
    "600 slices of 128² with float32 masks are 200 MB of files; the store is built in a fraction of that."
    from covid_nbdev.phantom import make_slice
    hu, labels = make_slice(0, 128)
    images = np.repeat(hu[None, ..., None].astype(np.float32), 600, 0)
    np.save(tmp_path/"images_medseg.npy", images)
    np.save(tmp_path/"masks_medseg.npy", np.eye(4, dtype=np.float32)[np.repeat(labels[None], 600, 0)])
    line = subprocess.run([sys.executable, ROOT/"benchmarks"/"etl.py", "--measure", "store", tmp_path, tmp_path/"store"],
                          check=True, capture_output=True, text=True).stdout
    assert json.loads(line)["peak_mb"] < 40
    assert len(Store(tmp_path/"store")) == 600


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_store_leaves_nothing(layout, tmp_path, monkeypatch, error):
    calls = []
    def stops(*args):
        calls.append(args)
        if len(calls) == 7: raise error
        return np.zeros((64, 64), np.int16)
    monkeypatch.setattr(etl, "to_int16", stops)
    with pytest.raises(type(error)): build_store(layout, tmp_path/"store", progress=False)
    assert len(calls) == 7 and not any(tmp_path.iterdir())


def test_imports_neither_pandas_nor_torch():
    code = "import covid_nbdev.etl, sys; assert not {'pandas', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bad_tables(copy_layout, tmp_path, cli):
    (copy_layout/"patients.csv").write_text("who,what\n1,2\n")
    assert cli("covid_etl", copy_layout, tmp_path/"store")[0] == 2
    (copy_layout/"patients.csv").write_text("")
    assert cli("covid_etl", copy_layout, tmp_path/"store")[0] == 2
    (copy_layout/"patients.csv").unlink()
    assert cli("covid_etl", copy_layout, tmp_path/"store")[0] == 0
    (tmp_path/"store"/"index.csv").write_text("source\nmedseg\n")
    status, _, err = cli("covid_train", tmp_path/"store", tmp_path/"run")
    assert status == 2 and "index.csv" in err
