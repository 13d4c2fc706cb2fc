"""The store: constant memory, any dtype and form that Kaggle's layout allows, and what is counted on the way."""
import json, os, shutil, subprocess, sys

import numpy as np
import pandas as pd
import pytest

from conftest import ROOT
from covid_nbdev import competition
from covid_nbdev.competition import find_competition_data, open_competition
from covid_nbdev.core import BadInput
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


@pytest.mark.parametrize("below", ["covid-segmentation", "competitions/covid-segmentation", "a/b/c d/ñ"])
def test_one_search_for_all(below, layout, store, tmp_path, monkeypatch):
    "Above the data, deep below, by a link: what covid_etl, covid_train and covid_submission open is the same."
    (tmp_path/"input"/below).parent.mkdir(parents=True)
    shutil.copytree(layout, tmp_path/"input"/below)
    (tmp_path/"links").mkdir(); (tmp_path/"links"/"data").symlink_to(tmp_path/"input")
    (tmp_path/"input"/"circle").symlink_to(tmp_path)
    (tmp_path/"home").symlink_to(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for k, path in enumerate((tmp_path/"input", tmp_path/"links", "~/input", "~/links/data", tmp_path)):
        assert len(open_competition(path)) == 3
        assert os.path.samefile(find_competition_data(path), tmp_path/"input"/below)
    monkeypatch.setenv("COVID_DATA", "~/input")
    assert find_competition_data().samefile(tmp_path/"input"/below)
    assert same(build_store(tmp_path/"links", tmp_path/"store"), store)


def test_several_folders_are_named(layout, tmp_path, cli):
    for name in ("one", "two"): shutil.copytree(layout, tmp_path/"in"/name)
    (tmp_path/"in"/"three").symlink_to(layout)
    (tmp_path/"in"/"again").symlink_to(tmp_path/"in"/"one")
    shutil.copytree(layout, tmp_path/"in"/".hidden")
    build_store(layout, tmp_path/"in"/"store", progress=False)
    status, _, err = cli("covid_etl", tmp_path/"in", tmp_path/"out")
    assert status == 2 and err.count("\n") == 1 and err.count("in/") == 3 and "name one of them" in err and "hidden" not in err
    assert cli("covid_etl", tmp_path/"in"/"two", tmp_path/"out")[0] == 0
    shutil.copytree(layout, tmp_path/"in"/"two"/"old")                      # what the folder holds itself wins
    assert cli("covid_etl", tmp_path/"in"/"two", tmp_path/"out2")[0] == 0
    for name in ("one", "two", "three", "again"): shutil.move(tmp_path/"in"/name, tmp_path/name)
    status, _, err = cli("covid_etl", tmp_path/"in", tmp_path/"out3")      # the store beside is none of Kaggle's
    assert status == 2 and "no images_medseg.npy" in err and "store" not in err


def renamed(folder, old, new): (folder/old).rename(folder/new)


@pytest.mark.parametrize("names", [{"images_radiopedia.npy": "images_radiopaedia.npy", "masks_radiopedia.npy": "masks_radiopaedia.npy"},
                                   {"images_radiopedia.npy": "images_radiopaedia.npy"}, {"images_medseg.npy": "Images_Medseg.NPY"},
                                   {"masks_radiopedia.npy": "Masks_Radiopaedia.npy", "test_images_medseg.npy": "TEST_images_medseg.npy"}])
def test_other_spellings_are_used(names, copy_layout, store, tmp_path):
    for old, new in names.items(): renamed(copy_layout, old, new)
    assert same(build_store(copy_layout.parent, tmp_path/"store", progress=False), store)


@pytest.mark.parametrize("old, new, word", [
    ("images_radiopedia.npy", "images_radiopedia.npy.zip", "unpack it: python -m zipfile -e"), ("masks_radiopedia.npy", "masks_radiopedia (1).npy", "masks_radiopedia (1).npy"),
    ("images_radiopedia.npy", "radiopedia/images_radiopedia.npy", "radiopedia/images_radiopedia.npy"), ("masks_medseg.npy", "masks_medseg.npy.zip", "unpack it"),
    ("images_medseg.npy", "images_medseg (1).npy", "images_medseg (1).npy"), ("test_images_medseg.npy", "test_images_medseg.npz", "test_images_medseg.npz"),
    ("images_medseg.npy", "images_medseg.npy.zip", "unpack it"), ("images_medseg.npy", "covid-segmentation.zip", "unpack it")])
@pytest.mark.parametrize("both", [False, True])
def test_near_misses_are_named(old, new, word, both, copy_layout, tmp_path, cli):
    "Never is a source left out without a word when something that looks like it lies there."
    for name in (old, old.replace("images", "masks"))[:1 + (both and "radiopedia" in old and "images" in old)]:
        to = copy_layout/new.replace("images", "masks") if name != old else copy_layout/new
        to.parent.mkdir(exist_ok=True)
        (copy_layout/name).rename(to)
    status, _, err = cli("covid_etl", copy_layout, tmp_path/"out")
    assert status == 2 and err.count("\n") == 1 and word in err and old in err, err


def test_the_archive_itself(tmp_path, cli):
    (tmp_path/"covid-segmentation.zip").write_bytes(b"PK")
    for source in (tmp_path/"covid-segmentation.zip", tmp_path):
        status, _, err = cli("covid_etl", source, tmp_path/"out")
        assert status == 2 and f"unpack it: python -m zipfile -e \"{tmp_path/'covid-segmentation.zip'}\" \"{tmp_path}\"" in err, err


TABLES = {"from 1": (lambda t: t.assign(number=t["number"] + 1), ["rows without a slice: 3 (radiopedia 8, medseg 16, test_medseg 2)",
                                                                  "slices without a row: 3 (medseg 0, radiopedia 0, test_medseg 0)", "from 0"]),
          "unknown source": (lambda t: t.assign(source=t["source"].replace("medseg", "medset")), ["rows without a slice: 16 (medset 0, medset 1, medset 2 …)"]),
          "twice": (lambda t: pd.concat([t, t[:1]]), ["slices with several rows: 1"]), "a row too few": (lambda t: t[1:], ["slices without a row: 1"]),
          "negative": (lambda t: t.assign(number=-t["number"]), ["rows without a slice"]), "text": (lambda t: t.assign(number="a"), ["can't be read"]),
          "half": (lambda t: t.assign(number=t["number"] + .5), ["can't be read"])}


@pytest.mark.parametrize("case", TABLES)
def test_patients_that_do_not_fit(case, copy_layout, tmp_path):
    change_it, words = TABLES[case]
    change_it(pd.read_csv(copy_layout/"patients.csv")).to_csv(copy_layout/"patients.csv", index=False)
    with pytest.raises(BadInput) as e: build_store(copy_layout, tmp_path/"out")
    assert all(w in str(e.value) for w in (*words, "patients.csv")), e.value
    assert not (tmp_path/"out").exists()


def test_patients_as_excel_writes_them(copy_layout, store, tmp_path, capsys):
    "A byte order mark, the right spelling; a table of one source leaves the others unknown, and that is said."
    table = pd.read_csv(copy_layout/"patients.csv", dtype=str)
    table.replace("radiopedia", "Radiopaedia").to_csv(copy_layout/"patients.csv", index=False, encoding="utf-8-sig")
    assert same(build_store(copy_layout, tmp_path/"a", progress=False), store) and "note" not in capsys.readouterr().out
    table[table["source"] == "medseg"].to_csv(copy_layout/"patients.csv", index=False)
    index = build_store(copy_layout, tmp_path/"b", progress=False).index
    assert set(index[index["source"] == "radiopedia"]["patient"]) == {""} and (index[index["source"] == "medseg"]["patient"] != "").all()
    assert "note: patients.csv names no radiopedia slice" in capsys.readouterr().out
    for name in ("images_radiopedia", "masks_radiopedia"): (copy_layout/f"{name}.npy").unlink()     # rows of a source that isn't there
    table.to_csv(copy_layout/"patients.csv", index=False)
    assert len(build_store(copy_layout, tmp_path/"c", progress=False)) == 18


def odd_slices(a, which, f):
    for i in which: a[i] = f(a[i])
    return a


SLICES = {"half 8-bit": ("images_medseg", range(1, 16, 2), lambda hu: ((hu + 1500)/8).clip(0, 255), ["8-bit", "slice 1", "8 slices hold no HU: 1, 3, 5, 7, 9 …"]),
          "one shifted": ("images_radiopedia", [7], lambda hu: hu + 1024, ["HU + 1024", "slice 7", "subtract 1024"]),
          "shifted, two": ("images_medseg", [3, 9], lambda hu: hu + 1024, ["slice 3", "2 slices hold no HU: 3, 9)", "subtract 1024"]),
          "raw": ("images_medseg", [5], lambda hu: (hu + 1024).clip(0, 1700), ["HU + 1024 (", "slice 5"]),
          "zero": ("images_medseg", [2], lambda hu: hu*0, ["a single value (0 to 0)", "slice 2"]),
          "constant": ("test_images_medseg", [1], lambda hu: hu*0 + 40, ["a single value", "test_images_medseg.npy, slice 1"]),
          "test": ("test_images_medseg", [1], lambda hu: hu + 1024, ["test_images_medseg.npy, slice 1", "subtract 1024"]),
          "0 to 1": ("images_medseg", [11], lambda hu: ((hu + 1500)/2000).clip(0, 1), ["normalized to 0 to 1", "slice 11"]),
          "z-scores": ("images_medseg", [13], lambda hu: (hu - hu.mean())/hu.std(), ["standardized", "slice 13"])}


@pytest.mark.parametrize("case", SLICES)
def test_each_slice_is_looked_at(case, copy_layout, tmp_path):
    stem, which, f, words = SLICES[case]
    change(copy_layout, stem, lambda a: odd_slices(a, which, f))
    with pytest.raises(BadInput) as e: build_store(copy_layout, tmp_path/"out", progress=False)
    assert all(w in str(e.value) for w in words), e.value
    assert not (tmp_path/"out").exists()


def test_a_corner_that_hides_an_offset(copy_layout, tmp_path):
    for corner in (-2000, -976):
        def shifted(hu): hu = hu + 1024; hu[:9, :9] = corner; return hu
        change(copy_layout, "images_radiopedia", lambda a: odd_slices(a, [5], shifted))
        with pytest.raises(BadInput, match="slice 5.*subtract 1024"): build_store(copy_layout, tmp_path/"out", progress=False)
        change(copy_layout, "images_radiopedia", lambda a: odd_slices(a, [5], lambda hu: hu - 1024))


def test_odd_slices_pass(copy_layout, tmp_path, capsys):
    "White soft tissue, MedSeg's -1606, a slice of air alone: HU all the same. Padding becomes air, and is counted."
    def odd(a):
        a[0] = a[0].clip(None, 40); a[1, 5, 5] = -1606; a[2] = -1000; a[3, :8, :8] = -3024; a[4, :4, :4] = -2000
        return a
    change(copy_layout, "images_medseg", odd)
    s = build_store(copy_layout, tmp_path/"out", progress=False)
    out, images = capsys.readouterr().out, s.images[s.index["source"] == "medseg"]
    assert "images_medseg.npy: 80 pixels of padding, never measured, set to air" in out and "single value, nothing to see: 1" in out
    assert images[1, 5, 5] == -1606 and (images[3, :8, :8] == -1000).all() and images.min() == -1606
    assert s.report["medseg"]["padding_px"] == 80


def test_any_size(copy_layout, tmp_path, capsys):
    "60 pixels stay 60. An oblong slice lies in a square with a rim of air and background, and the store knows where."
    for side in ((60, 60), (40, 64), (64, 49)):
        folder, dest = tmp_path/f"{side}", tmp_path/f"store {side}"
        shutil.copytree(copy_layout, folder)
        for f in folder.glob("*.npy"): change(folder, f.stem, lambda a: a[:, :side[0], :side[1]])
        s = build_store(folder, dest, progress=False)
        assert s.size == max(side) and s.images.shape[1:] == (max(side),)*2
        inside = s.images[:, *s.inside]
        assert inside.shape[1:] == side and np.array_equal(inside[0], np.load(folder/"images_radiopedia.npy")[0, ..., 0])
        rim = np.ones(s.images.shape[1:], bool); rim[s.inside] = False
        assert (s.images[:, rim] == -1000).all() and (s.labels[:, rim][:-2] == 3).all() and (s.labels[-2:] == 255).all()
        assert ("a rim of air" in capsys.readouterr().out) == (side[0] != side[1])
        (dest/"etl.json").unlink()
        assert Store(dest).inside == (slice(0, s.size),)*2


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
        if len(calls) == 25: raise error                # two times eight and two test slices were looked at before
        return np.full((64, 64), -1000, np.int16)
    monkeypatch.setattr(competition, "to_int16", stops)
    with pytest.raises(type(error)): build_store(layout, tmp_path/"store", progress=False)
    assert len(calls) == 25 and not any(tmp_path.iterdir())


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
