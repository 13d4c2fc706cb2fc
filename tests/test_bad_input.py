"""Bad input: one line on stderr, exit status 2, no traceback, nothing half-written, nothing lost."""
import json, os, shutil, subprocess

import numpy as np
import pytest
import safetensors.torch
import torch

from covid_nbdev.core import BadInput
from covid_nbdev.etl import Store, build_store
from covid_nbdev.run import load_model, train_run
from covid_nbdev.train import TrainConfig

SMALL = ("--size", 64, "--encoder", "efficientnet-b0", "--epochs", 1)


def one_line(result, *words):
    "The promise: status 2, one line that holds these words, no traceback."
    status, _, err = result
    assert status == 2, err
    lines = [l for l in err.strip().split("\n") if l]
    assert len(lines) == 1 and "Traceback" not in err, err
    assert lines[0].startswith("covid_") and "expected" in lines[0], err
    for w in words: assert w in lines[0], err


def spoil(folder, stem, change):
    "Replace one array by what `change` makes of it."
    a = np.load(folder/f"{stem}.npy")
    np.save(folder/f"{stem}.npy", change(a))


def set_at(value, where=(0, 0, 0, 0)):
    def change(a): a[where] = value; return a
    return change


def header(path, shape):
    "A file with this header and nothing behind it."
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())


def truncate(folder):
    p = folder/"masks_medseg.npy"
    p.write_bytes(p.read_bytes()[:-500])


def pickled(folder): np.save(folder/"images_medseg.npy", np.array([{"a": 1}], object), allow_pickle=True)


CASES = {
    "no_files": (lambda f: [p.unlink() for p in f.glob("*medseg.npy")], ["images_medseg.npy"]),
    "truncated": (truncate, ["masks_medseg.npy", "500 bytes"]),
    "pickle": (pickled, ["images_medseg.npy", "pickle"]),
    "no_npy": (lambda f: (f/"masks_medseg.npy").write_text("hello"), ["masks_medseg.npy", "no readable .npy"]),
    "empty_file": (lambda f: (f/"masks_medseg.npy").write_text(""), ["masks_medseg.npy"]),
    "wrong_shape": (lambda f: spoil(f, "images_medseg", lambda a: a[:, :24]), ["images_medseg.npy", "(16, 24, 64)"]),
    "three_channels": (lambda f: spoil(f, "masks_medseg", lambda a: a[..., :3]), ["masks_medseg.npy", "one channel per class"]),
    "slices_last": (lambda f: spoil(f, "images_medseg", lambda a: np.zeros((64, 64, 16)) - 1000), ["images_medseg.npy", "slices first"]),
    "two_sizes": (lambda f: [spoil(f, s, lambda a: a[:, :32, :32]) for s in ("images_medseg", "masks_medseg")], ["one size"]),
    "nan_image": (lambda f: spoil(f, "images_medseg", set_at(np.nan, (9, 5, 5, 0))), ["images_medseg.npy, slice 9", "NaN"]),
    "inf_image": (lambda f: spoil(f, "test_images_medseg", set_at(np.inf)), ["test_images_medseg.npy, slice 0", "infinite"]),
    "too_large": (lambda f: spoil(f, "images_radiopedia", set_at(1e6)), ["images_radiopedia.npy", "Hounsfield"]),
    "nan_mask": (lambda f: spoil(f, "masks_medseg", set_at(np.nan, (3, 0, 0, 1))), ["masks_medseg.npy, slice 3", "nan"]),
    "numbers_differ": (lambda f: spoil(f, "masks_medseg", lambda a: a[:-1]), ["16 images", "15 masks"]),
    "mask_255": (lambda f: spoil(f, "masks_medseg", lambda a: a*255), ["255", "only 0 and 1"]),
    "mask_half": (lambda f: spoil(f, "masks_radiopedia", set_at(0.5, (7, 0, 0, 0))), ["0.5", "masks_radiopedia.npy, slice 7"]),
    "mask_negative": (lambda f: spoil(f, "masks_medseg", set_at(-1)), ["-1"]),
    "eight_bit": (lambda f: spoil(f, "images_medseg", lambda a: ((a + 1500)/8).clip(0, 255)), ["8-bit", "images_medseg.npy"]),
    "zero_one": (lambda f: spoil(f, "images_medseg", lambda a: ((a + 1500)/2000).clip(0, 1)), ["images_medseg.npy", "air"]),
    "half_pair": (lambda f: (f/"masks_radiopedia.npy").unlink(), ["no masks_radiopedia.npy"]),
    "text_masks": (lambda f: spoil(f, "masks_medseg", lambda a: a.astype("U1")), ["masks_medseg.npy", "numbers"]),
    "complex_masks": (lambda f: spoil(f, "masks_medseg", lambda a: a.astype(complex)), ["masks_medseg.npy", "complex"]),
    "broken_header": (lambda f: (f/"images_medseg.npy").write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4', "), ["images_medseg.npy"]),
    "negative_shape": (lambda f: header(f/"images_medseg.npy", (-1, 64, 64)), ["images_medseg.npy"]),
    "huge_shape": (lambda f: header(f/"images_medseg.npy", (2**32, 2**32)), ["images_medseg.npy", "cut short"]),
    "none_left": (lambda f: [spoil(f, s, lambda a: a[:0]) for s in ("images_medseg", "masks_medseg")], ["0 slices"]),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_files(case, copy_layout, tmp_path):
    break_it, words = CASES[case]
    break_it(copy_layout)
    with pytest.raises(BadInput) as error: build_store(copy_layout, tmp_path/"out", progress=False)
    assert "\n" not in str(error.value) and all(w in str(error.value) for w in (*words, "expected")), str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["layout"], "something was left behind"


@pytest.mark.parametrize("case", ["truncated", "half_pair"])
@pytest.mark.parametrize("command", [("covid_etl",), ("covid_train", *SMALL)], ids=lambda c: c[0])
def test_bad_files_stop_the_commands(case, command, copy_layout, tmp_path, cli):
    "One found before anything is read, one while it is; both commands build the store by the function above."
    break_it, words = CASES[case]
    break_it(copy_layout)
    one_line(cli(command[0], copy_layout, tmp_path/"out", *command[1:]), *words)
    assert [p.name for p in tmp_path.iterdir()] == ["layout"], "something was left behind"


def test_no_such_folder(tmp_path, cli):
    one_line(cli("covid_etl", tmp_path/"nowhere", tmp_path/"out"), "no folder nowhere")
    assert list(tmp_path.iterdir()) == []


def test_pickle_is_never_executed(copy_layout, tmp_path, cli):
    class Bomb:
        def __reduce__(self): return os.mkdir, (str(tmp_path/"exploded"),)
    np.save(copy_layout/"images_medseg.npy", np.array([Bomb()], object), allow_pickle=True)
    torch.save({"x": Bomb()}, tmp_path/"bomb.pt")
    one_line(cli("covid_etl", copy_layout, tmp_path/"out"), "pickle")
    one_line(cli("covid_train", copy_layout, tmp_path/"out", *SMALL, "--weights", tmp_path/"bomb.pt"), "bomb.pt")
    assert not (tmp_path/"exploded").exists()


SETTINGS = [(("--size", 100), ["size 100", "multiple of 32"]), (("--size", 0), ["size 0"]),
            (("--encoder", "eficientnet-b2"), ["'eficientnet-b2'", "efficientnet-b2"]), (("--encoder", "tu-nonsense"), ["tu-nonsense"]),
            (("--encoder", "mit_b0"), ["mit_b0"]), (("--upsample", "bilinear"), ["bilinear"]),
            (("--weights", "missing.safetensors"), ["missing.safetensors"]), (("--epochs", 0), ["epochs 0"]),
            (("--lr", "nan"), ["learning rate"]), (("--rotate", "nan"), ["rotate"]), (("--jitter", "nan"), ["jitter", "0 to 0.5"]), (("--seed", 10**20), ["seed"]),
            (("--seed", -1), ["seed"]), (("--loss", "mse"), ["mse"]), (("--encoder", "tu-convnext_atto"), ["tu-convnext_atto"]),
            (("--encoder", "tu-swin_tiny_patch4_window7_224", "--upsample", "nearest"), ["swin"]), (("--batch_size", 0), ["batch_size 0"]), (("--resume", "--force"), ["one of them"])]


@pytest.mark.parametrize("args, words", SETTINGS, ids=[" ".join(map(str, a)) for a, _ in SETTINGS])
def test_bad_settings(args, words, layout, tmp_path, cli):
    one_line(cli("covid_train", layout, tmp_path/"run", *args), *words)
    assert list(tmp_path.iterdir()) == []


def test_argparse_errors(cli):
    for args in (("covid_train",), ("covid_train", "a", "b", "--epochs", "many"), ("covid_etl", "a", "b", "c")):
        status, _, err = cli(*args)
        assert status == 2 and "Traceback" not in err


def test_weights_that_do_not_fit(layout, tmp_path, cli):
    from covid_nbdev.model import build_model
    torch.save(build_model("efficientnet-b0", upsample="nearest").state_dict(), tmp_path/"nearest.pt")
    torch.save({"a": torch.zeros(3)}, tmp_path/"other.pt")
    (tmp_path/"garbage.safetensors").write_bytes(b"not tensors at all")
    (tmp_path/"garbage.pt").write_bytes(b"not tensors at all")
    for name, words in (("nearest.pt", ["missing", "--upsample"]), ("other.pt", ["unknown"]), ("garbage.safetensors", ["can't be read"]),
                        ("garbage.pt", ["garbage.pt"])):
        one_line(cli("covid_train", layout, tmp_path/"run", *SMALL, "--weights", tmp_path/name), name, *words)
    assert not (tmp_path/"run").exists()


def test_imagenet_without_the_hub(layout, tmp_path, cli, monkeypatch):
    import covid_nbdev.weights as m
    monkeypatch.setattr(m, "_hub_answers", lambda: False)
    monkeypatch.setattr(m, "_in_cache", lambda encoder: False)
    one_line(cli("covid_train", layout, tmp_path/"run", *SMALL, "--weights", "imagenet"), "hub", "file", "scratch")
    assert not (tmp_path/"run").exists()


def test_existing_folders_are_kept(layout, store, tmp_path, cli):
    taken = tmp_path/"taken"; taken.mkdir(); (taken/"thesis.txt").write_text("years of work")
    for args in (("covid_etl", layout, taken), ("covid_phantom", taken), ("covid_train", layout, taken, *SMALL),
                 ("covid_train", store.path, taken, *SMALL), ("covid_demo", "--run", taken)):
        one_line(cli(*args), "taken")
    assert (taken/"thesis.txt").read_text() == "years of work" and len(list(taken.iterdir())) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_force_gives_the_old_run_back_if_the_data_is_bad(copy_layout, tmp_path, cli):
    run = tmp_path/"run"; run.mkdir(); (run/"history.csv").write_text("epochs of work")
    spoil(copy_layout, "masks_medseg", lambda a: a*255)
    one_line(cli("covid_train", copy_layout, run, *SMALL, "--force"), "255")
    assert (run/"history.csv").read_text() == "epochs of work"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["layout", "run"]


def test_bad_runs_and_inputs(layout, tiny_run, tmp_path, cli):
    (tmp_path/"empty").mkdir()
    run, damaged = tiny_run, tmp_path/"damaged"
    damaged.mkdir()
    (damaged/"best.safetensors").write_bytes((run/"best.safetensors").read_bytes()[:1000])
    ok = layout/"test_images_medseg.npy"
    np.save(tmp_path/"gray.npy", np.random.default_rng(0).integers(0, 255, (2, 64, 64)).astype(np.uint8))
    np.save(tmp_path/"nan.npy", np.full((2, 64, 64), np.nan))
    np.save(tmp_path/"narrow.npy", np.full((2, 32, 96), -1000))
    (tmp_path/"scan.nii").write_text("")
    for args, word in ((("covid_predict", tmp_path/"empty", ok), "best.safetensors"), (("covid_predict", damaged, ok), "can't be read"),
                       (("covid_predict", run, tmp_path/"gray.npy"), "8-bit"), (("covid_predict", run, tmp_path/"nan.npy"), "NaN"),
                       (("covid_predict", run, tmp_path/"narrow.npy"), "(N, S, S)"), (("covid_predict", run, tmp_path/"scan.nii"), "no NIfTI"),
                       (("covid_predict", run, tmp_path/"missing.npy"), "missing.npy"), (("covid_submission", run, tmp_path/"empty"), "images_medseg"),
                       (("covid_submission", tmp_path/"empty", layout), "best.safetensors")):
        one_line(cli(*args, tmp_path/"out"), word)
        assert not (tmp_path/"out").exists()
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_damaged_store(layout, tmp_path, cli):
    build_store(layout, tmp_path/"store")
    p = tmp_path/"store"/"images.npy"; p.write_bytes(p.read_bytes()[:-100])
    one_line(cli("covid_train", tmp_path/"store", tmp_path/"run", *SMALL), "images.npy", "100 bytes")
    assert not (tmp_path/"run").exists()


STORES = {"labels 9": ("labels", lambda a: a*0 + 9, "label 9"), "labels none": ("labels", lambda a: a*0 + 255, "label 255"),
          "labels float": ("labels", lambda a: a.astype(np.float32), "float32"), "images float": ("images", lambda a: a.astype(np.float32), "float32"),
          "oblong": ("images", lambda a: a[:, :, :32], "images"), "flat": ("labels", lambda a: a.ravel(), "labels")}


@pytest.mark.parametrize("case", STORES)
def test_store_with_wrong_contents(case, layout, tmp_path, cli):
    stem, change, word = STORES[case]
    build_store(layout, tmp_path/"store")
    spoil(tmp_path/"store", stem, change)
    one_line(cli("covid_train", tmp_path/"store", tmp_path/"run", *SMALL), word)
    assert not (tmp_path/"run").exists()


def test_store_with_wrong_index(layout, tmp_path, cli):
    build_store(layout, tmp_path/"store")
    index = tmp_path/"store"/"index.csv"
    good = index.read_text()
    for bad, word in ((good.replace(",train", ",Training"), "Training"), (good.replace("medseg,0,", "medseg,99999999999999999999,"), "index.csv"),
                      ("", "index.csv"), ("\n".join(good.splitlines()[:-2]), "rows")):
        index.write_text(bad)
        one_line(cli("covid_train", tmp_path/"store", tmp_path/"run", *SMALL), word)
    index.write_text(good); (tmp_path/"store"/"etl.json").write_text("{")
    assert Store(tmp_path/"store").report == {}


def test_too_few_slices_leave_the_old_run_in_place(copy_layout, tmp_path, cli):
    for name in ("images_radiopedia.npy", "masks_radiopedia.npy", "patients.csv"): (copy_layout/name).unlink()
    for stem in ("images_medseg", "masks_medseg"): spoil(copy_layout, stem, lambda a: a[:2])
    run = tmp_path/"run"; run.mkdir(); (run/"history.csv").write_text("epochs of work")
    one_line(cli("covid_train", copy_layout, run, *SMALL, "--force"), "1 training and 1 validation")
    assert (run/"history.csv").read_text() == "epochs of work" and sorted(p.name for p in tmp_path.iterdir()) == ["layout", "run"]


def test_damaged_runs(store, tiny_run, tmp_path, cli):
    run = shutil.copytree(tiny_run, tmp_path/"run")
    good = (run/"last.pt").read_bytes()
    for make in (lambda p: p.write_bytes(good[:1000]), lambda p: torch.save({"a": torch.zeros(1)}, p), lambda p: torch.save([1], p)):
        make(run/"last.pt")
        one_line(cli("covid_train", store.path, run, "--resume"), "last.pt")
    (run/"last.pt").write_bytes(good)
    settings = (run/"config.json").read_text()
    for bad in (settings.replace('"epochs": 2', '"epochs": "a"'), settings.replace('"size": 64', '"size": null'), "{", '{"x": 1}'):
        (run/"config.json").write_text(bad)
        assert bad != settings
        one_line(cli("covid_train", store.path, run, "--resume"))
    for tensors, about in (({"a": torch.zeros(1)}, {"encoder": "efficientnet-b0", "upsample": "transpose", "size": 64, "classes": [1, 2, 3, 4],
                                                    "in_channels": 1}), ({"a": torch.zeros(1)}, {}), ({"a": torch.zeros(1)}, [1])):
        safetensors.torch.save_file(tensors, run/"best.safetensors", {"covid_nbdev": json.dumps(about)})
        one_line(cli("covid_predict", run, store.path/"images.npy", tmp_path/"out"), "best.safetensors")
    assert not (tmp_path/"out").exists()


def test_learning_rate_far_too_high(store, tmp_path, cli):
    one_line(cli("covid_train", store.path, tmp_path/"run", *SMALL, "--lr", "1e38"), "learning rate")
    assert not (tmp_path/"run").exists()


def test_dashes_are_underscores(tiny_run, tmp_path, cli):
    "In every command: most programs spell their options so."
    one_line(cli("covid_predict", tiny_run, tmp_path/"nothing.npy", tmp_path/"out", "--min-px=-1"), "min_px -1")
    one_line(cli("covid_train", tmp_path, tmp_path/"run", "--batch-size", 0), "batch_size 0")
    one_line(cli("covid_etl", tmp_path/"a-b", tmp_path/"out-put"), "a-b")                     # names of files stay


def test_places_that_are_no_names(layout, tmp_path, cli, monkeypatch):
    empty = tmp_path/"empty"; empty.mkdir()
    monkeypatch.chdir(empty)
    for args in (("covid_etl", layout, "."), ("covid_etl", layout, ""), ("covid_train", layout, ".", *SMALL)): one_line(cli(*args))
    assert list(empty.iterdir()) == []


def test_unwritable_place(layout, tmp_path, cli):
    (tmp_path/"file").write_text("")
    one_line(cli("covid_etl", layout, tmp_path/"file"/"store"))
    one_line(cli("covid_etl", layout, tmp_path/"file"))
    assert (tmp_path/"file").read_text() == ""


@pytest.fixture
def tmpfs(tmp_path):
    "A disk of any small size: tmpfs(megabytes) -> folder. Root alone may mount one."
    mounted = []
    def mount(megabytes):
        folder = tmp_path/"small_disk"; folder.mkdir()
        try: subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True, capture_output=True)
        except (subprocess.CalledProcessError, FileNotFoundError): pytest.skip("a small tmpfs can't be mounted here (needs root)")
        mounted.append(folder)
        return folder
    yield mount
    for folder in mounted: subprocess.run(["umount", folder], check=True)


def test_full_disk_while_the_store_is_written(layout, tmpfs, cli, monkeypatch):
    disk = tmpfs(1)
    (disk/"filler").write_bytes(bytes(900_000))
    one_line(cli("covid_etl", layout, disk/"store"), " free")                     # found out before the first write
    monkeypatch.setattr(shutil, "disk_usage", lambda p: shutil._ntuple_diskusage(10**12, 0, 10**12))
    one_line(cli("covid_etl", layout, disk/"store"), "full disk")                   # and while writing
    assert [p.name for p in disk.iterdir()] == ["filler"]


def test_full_disk_while_a_checkpoint_is_written(store, tmpfs, cli):
    disk = tmpfs(170)    # b0: best.safetensors 26 MB and last.pt 78 MB fit, a second last.pt beside the first does not
    config = TrainConfig(epochs=3, size=32, encoder="efficientnet-b0")
    full = cli("covid_train", store.path, disk/"run", "--epochs", 3, "--size", 32, "--encoder", "efficientnet-b0")
    one_line(full, "full disk")
    kept = torch.load(disk/"run"/"last.pt", weights_only=True)
    assert len(kept["history"]) >= 1, "the earlier checkpoint is whole"
    load_model(disk/"run")
    assert not [p.name for p in (disk/"run").iterdir() if p.name.startswith(".")]
    subprocess.run(["mount", "-o", "remount,size=400m", disk], check=True)           # room again: it goes on
    history = train_run(store, disk/"run", config, resume=True, progress=False, on_epoch=None)
    assert len(history) == 3
