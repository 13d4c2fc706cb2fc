"""The rules of Windows, simulated: nothing that is open or memory-mapped is renamed or deleted; no rename replaces a folder."""
import errno, gc, os, shutil, sys, threading, time
from pathlib import Path

import numpy as np
import pytest

import covid_nbdev.cli as c
from covid_nbdev import core
from covid_nbdev.core import BadInput, atomic_file, atomic_folder, rename
from covid_nbdev.outputs import moved_aside
from covid_nbdev.phantom import make_volume
from covid_nbdev.scans import write_dicom_series, write_nifti
from test_demo import instant, quick     # fixtures

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc here")


def is_open(path: str) -> bool:
    "Has this process or a child of it the file open or mapped, or one in the folder?"
    processes, ends = ["self"], (path + "\n", path + "/")
    for task in Path("/proc/self/task").iterdir():
        try: processes += (task/"children").read_text().split()
        except OSError: pass
    for process in processes:
        try:
            for fd in os.scandir(f"/proc/{process}/fd"):
                try: found = os.readlink(fd.path) + "\n"
                except OSError: continue
                if found.startswith(ends): return True
            with open(f"/proc/{process}/maps") as f: maps = f.read()      # thousands of lines
            if any(f" {end}" in maps for end in ends): return True
        except OSError: pass
    return False


@pytest.fixture
def windows(monkeypatch):
    "Renaming and deleting as on Windows. Yields the list of what was refused."
    refused = []
    def refuse(path, text="The process cannot access the file because it is being used by another process"):
        refused.append(str(path))
        raise PermissionError(errno.EACCES, text, str(path))
    def check(path):
        path = os.path.realpath(path)
        if Path.cwd().is_relative_to(path) or is_open(path): refuse(path)
    def two(real, replaces_files):
        def patched(source, target, **kw):
            check(source)
            if os.path.isdir(target): refuse(target, "Access is denied")
            if os.path.exists(target):
                if not replaces_files: raise FileExistsError(errno.EEXIST, "Cannot create a file when that file already exists", str(target))
                check(target)
            return real(source, target, **kw)
        return patched
    def one(real):
        def patched(path, **kw):
            check(path)
            return real(path, **kw)
        return patched
    monkeypatch.setattr(shutil, "_use_fd_functions", False)      # so that rmtree gives whole paths
    monkeypatch.setattr(os, "rename", two(os.rename, False)); monkeypatch.setattr(os, "replace", two(os.replace, True))
    for name in ("unlink", "remove", "rmdir"): monkeypatch.setattr(os, name, one(getattr(os, name)))
    monkeypatch.setattr(time, "sleep", lambda seconds, sleep=time.sleep: sleep(seconds/20))
    gc.freeze()        # gc.collect() need not look at PyTorch's objects each time: what a test makes is younger
    yield refused
    gc.unfreeze()


def names(folder): return sorted(p.name for p in folder.iterdir())


# ---- the simulation itself

def test_the_rules(tmp_path, windows):
    "It refuses what Windows refuses, and nothing else."
    (tmp_path/"a").mkdir(); np.save(tmp_path/"a"/"x.npy", np.zeros(5000)); (tmp_path/"free").mkdir()
    mapped = np.load(tmp_path/"a"/"x.npy", mmap_mode="r")
    for act in (lambda: os.replace(tmp_path/"a", tmp_path/"b"), lambda: (tmp_path/"a").rename(tmp_path/"b"),
                lambda: (tmp_path/"a"/"x.npy").unlink(), lambda: shutil.rmtree(tmp_path/"a"), lambda: (tmp_path/"a").replace(tmp_path/"free")):
        with pytest.raises(PermissionError): act()
    del mapped
    os.replace(tmp_path/"a", tmp_path/"b")
    with open(tmp_path/"b"/"x.npy", "rb"), pytest.raises(PermissionError): (tmp_path/"b"/"x.npy").unlink()
    (tmp_path/"y").touch()
    with pytest.raises(FileExistsError): os.rename(tmp_path/"y", tmp_path/"b"/"x.npy")
    os.replace(tmp_path/"y", tmp_path/"b"/"x.npy")
    shutil.rmtree(tmp_path/"b"); (tmp_path/"free").rmdir()
    assert names(tmp_path) == []


# ---- the building blocks

def kept(error) -> Path:
    "The folder or file that the line names, in which the finished work is."
    line = str(error)
    assert "open in another program" in line and "permission" not in line.lower() and "\n" not in line
    return Path(line.rsplit("kept in ", 1)[1])


def test_a_file_that_is_open_elsewhere(tmp_path, windows):
    "A table open in Excel: it stays as it is, and so does the new one, under the name that the line tells."
    (tmp_path/"table.csv").write_text("old")
    with open(tmp_path/"table.csv") as excel:
        with pytest.raises(BadInput, match="table.csv, or") as e:
            with atomic_file(tmp_path/"table.csv") as temp: temp.write_text("new")
        assert excel.read() == "old"
    assert kept(e.value).read_text() == "new" and len(names(tmp_path)) == 2
    rename(kept(e.value), tmp_path/"table.csv")
    assert names(tmp_path) == ["table.csv"] and (tmp_path/"table.csv").read_text() == "new"


def test_a_folder_that_is_open_elsewhere(tmp_path, windows):
    "Finished work is never deleted, not even by the next try."
    def write():
        with atomic_folder(tmp_path/"new") as temp:
            np.save(temp/"x.npy", np.arange(3000))
            return np.load(temp/"x.npy", mmap_mode="r")      # closed by nobody
    with pytest.raises(BadInput) as first: write()
    assert not (tmp_path/"new").exists() and (kept(first.value)/"x.npy").is_file()
    with pytest.raises(BadInput) as second: write()
    assert len({kept(first.value), kept(second.value)}) == 2 and all((kept(e.value)/"x.npy").is_file() for e in (first, second))


def test_an_empty_folder_is_replaced(tmp_path, windows):
    (tmp_path/"new").mkdir()
    with atomic_folder(tmp_path/"new") as temp: (temp/"a").touch()
    assert names(tmp_path) == ["new"] and names(tmp_path/"new") == ["a"]


def test_somebody_wrote_into_the_empty_folder_meanwhile(tmp_path, windows):
    (tmp_path/"new").mkdir()
    with pytest.raises(BadInput, match="Directory not empty") as e:
        with atomic_folder(tmp_path/"new") as temp:
            (temp/"a").touch(); (tmp_path/"new"/"thesis.txt").touch()
    assert names(tmp_path/"new") == ["thesis.txt"] and names(Path(str(e.value).rsplit("kept in ", 1)[1])) == ["a"]


def test_a_virus_scanner_lets_go(tmp_path, windows):
    "Open for a moment: tried again until it is free."
    with atomic_file(tmp_path/"a.csv") as temp:
        temp.write_text("new")
        scanner = open(temp)
        threading.Timer(.05, scanner.close).start()
    assert windows and names(tmp_path) == ["a.csv"]


def test_arrays_that_wait_for_the_garbage_collector(tmp_path, windows):
    "A loader and its store may hold each other: nothing uses them any more, and yet the file is mapped."
    gc.disable()
    try:
        with atomic_folder(tmp_path/"new") as temp:
            np.save(temp/"x.npy", np.arange(3000))
            circle = [np.load(temp/"x.npy", mmap_mode="r")]
            circle.append(circle); del circle
    finally: gc.enable()
    assert windows and names(tmp_path) == ["new"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_half_written_stays(error, tmp_path, windows):
    "The functions that failed still hold a mapped array, one of them below another error."
    def fail(path):
        mapped = np.load(path, mmap_mode="r")
        raise RuntimeError(len(mapped))
    def fail_again(path):
        mapped = np.load(path, mmap_mode="r")
        try: fail(path)
        except RuntimeError: raise error(len(mapped)) from None
    with pytest.raises(error), atomic_folder(tmp_path/"new") as temp:
        np.save(temp/"x.npy", np.arange(3000))
        fail_again(temp/"x.npy")
    assert windows and names(tmp_path) == []


def test_moved_aside(tmp_path, windows, capsys, monkeypatch):
    "A run that is open in another program stays where it is."
    monkeypatch.chdir(tmp_path)
    (run := Path("runs/first")).mkdir(parents=True); (run/"history.csv").write_text("epochs of work")
    with open(run/"history.csv") as excel:
        with pytest.raises(BadInput, match="open in another program"), moved_aside(run, force=True): run.mkdir()
        assert excel.read() == "epochs of work" and names(Path("runs")) == ["first"]
    with pytest.raises(BadInput, match="damaged"), moved_aside(run, force=True): raise BadInput("damaged files", "whole ones")
    assert names(Path("runs")) == ["first"]
    with moved_aside(run, force=True): run.mkdir()
    assert capsys.readouterr().out == f"the earlier run is now {Path('runs/first.old1')}\n"      # works across drives, where relpath fails


@pytest.mark.parametrize("name", ["aux", "NUL", "com1.csv", "a:b", "why?.csv", "a|b"])
def test_names_that_windows_does_not_allow(name, tmp_path, monkeypatch):
    "Refused before the work, on Windows alone."
    for make in (atomic_file, atomic_folder):
        with monkeypatch.context() as m, pytest.raises(BadInput, match="which Windows does not allow"):
            m.setattr(core, "_WINDOWS", True)
            with make(tmp_path/name): raise AssertionError("work began")
    with atomic_folder(tmp_path/name) as temp: (temp/"a").touch()
    assert names(tmp_path) == [name]


def test_names_that_look_like_those(tmp_path, monkeypatch):
    monkeypatch.setattr(core, "_WINDOWS", True)
    for name in ("auxiliary", "con_tumor", "nullo.csv", "com10", "Łódź 2", "a.b.csv"):
        with atomic_file(tmp_path/name) as temp: temp.touch()
    assert len(names(tmp_path)) == 6


# ---- the commands

def test_commands(layout, tiny_run, tmp_path, cli, windows, monkeypatch):
    "From the phantom to the submission, each over an empty folder that is there already; nothing of it is left behind."
    monkeypatch.chdir(tmp_path)
    for name in ("phantom", "store", "predicted", "dicom_predicted", "kernel", "copies"): (tmp_path/name).mkdir()
    def works(*args):
        status, out, err = cli(*args)
        assert status == 0, err
        return out
    works("covid_phantom", "phantom", "--n_radiopaedia", 0, "--n_medseg", 4, "--n_test", 1, "--size", 64)
    works("covid_etl", "phantom", "store")
    hu, _ = make_volume(20, n_slices=3, size=64)
    write_dicom_series(hu, tmp_path/"dicom"); write_nifti(hu, tmp_path/"scan.nii.gz", (5, 5, 5))
    works("covid_predict", tiny_run, "scan.nii.gz", "predicted")
    works("covid_predict", tiny_run, "dicom", "dicom_predicted")
    for _ in range(2): works("covid_submission", tiny_run, "phantom", "submission.csv")
    works("covid_submission", tiny_run, "store", "submission.csv")
    for n in (1, 2): works("covid_deid", "dicom", "copies" if n == 1 else "copies2", "--key", "key.json")
    works("covid_kernel", "kernel", "--user", "someone")
    assert "kernel.old1" in works("covid_kernel", "kernel", "--user", "someone", "--force")
    assert not windows and not [n for n in names(tmp_path) if n.startswith(".")]


@pytest.fixture
def no_training(monkeypatch, tiny_run):
    "covid_train whose training is the copy of one that was done."
    import covid_nbdev.report, covid_nbdev.run, pandas as pd
    def train_run(store, run, config, *args, **kwargs):
        for f in tiny_run.iterdir():
            if f.name != "config.json": shutil.copy(f, run)
        return pd.read_csv(run/"history.csv")
    monkeypatch.setattr(covid_nbdev.run, "train_run", train_run)


SMALL = ("--size", 64, "--encoder", "efficientnet-b0", "--epochs", 2)


def test_training_from_raw_files(layout, tiny_run, no_training, tmp_path, cli, windows):
    "The store is made inside the run's folder, which is renamed; so is the earlier run."
    shutil.copytree(tiny_run, tmp_path/"run")
    status, out, err = cli("covid_train", layout, tmp_path/"run", *SMALL, "--force")
    assert status == 0, err
    assert names(tmp_path) == ["run", "run.old1"] and (tmp_path/"run"/"metrics.json").is_file() and "radiopedia" in out


def test_training_on_unfit_files_leaves_nothing(copy_layout, tmp_path, cli, windows):
    "Found out when the store is made and open: the folder goes nevertheless."
    for name in ("images_medseg", "masks_medseg"): np.save(copy_layout/f"{name}.npy", np.load(copy_layout/f"{name}.npy")[:1])
    for name in ("images_radiopedia.npy", "masks_radiopedia.npy", "patients.csv"): (copy_layout/name).unlink()
    status, _, err = cli("covid_train", copy_layout, tmp_path/"run", *SMALL)
    assert status == 2 and "training and" in err and names(tmp_path) == ["layout"]


def test_demo(quick, tmp_path, cli, windows):
    "The demo's own results, measured with the store open."
    status, out, err = cli("covid_demo", "--run", tmp_path/"demo")
    assert status == 0, err
    assert names(tmp_path) == ["demo"] and str(tmp_path/"demo"/"curves.png") in out


def test_demo_again(instant, tmp_path, cli, windows):
    "The second takes the place of the first."
    for _ in range(2): assert cli("covid_demo", "--run", tmp_path/"demo")[0] == 0 and names(tmp_path) == ["demo"]
    assert windows, "the store was not open"


def test_demo_whose_last_one_is_open(instant, tmp_path, cli, windows):
    "A picture of it is open in another program: nothing is lost, and the line says where the new one is."
    assert cli("covid_demo", "--run", tmp_path/"demo")[0] == 0
    with open(tmp_path/"demo"/"curves.png", "rb"):
        status, _, err = cli("covid_demo", "--run", tmp_path/"demo")
    assert status == 2 and names(tmp_path) == [".demo.new", "demo"]
    for folder in (tmp_path/"demo", kept(err.strip())): assert (folder/"metrics.json").is_file()
    assert cli("covid_demo", "--run", tmp_path/"demo")[0] == 0 and names(tmp_path) == ["demo"]


def test_demo_stopped_while_the_store_is_open(instant, tmp_path, cli, windows, monkeypatch):
    import covid_nbdev.run
    def train_run(store, run, config):
        images = store.images
        raise KeyboardInterrupt
    monkeypatch.setattr(covid_nbdev.run, "train_run", train_run)
    assert cli("covid_demo", "--run", tmp_path/"demo")[0] == 130 and names(tmp_path) == []


def test_what_cannot_be_deleted_waits_for_the_next_demo(instant, tmp_path, cli, windows, monkeypatch):
    "The earlier demo was renamed, then somebody opened a file in it."
    assert cli("covid_demo", "--run", tmp_path/"demo")[0] == 0
    opened = []
    def rename_and_open(source, target):
        rename(source, target)
        if Path(target).name == ".demo.old": opened.append(open(Path(target)/"curves.png", "rb"))
    monkeypatch.setattr(c, "rename", rename_and_open)
    assert cli("covid_demo", "--run", tmp_path/"demo")[0] == 0 and names(tmp_path) == [".demo.old", "demo"]
    status, _, err = cli("covid_demo", "--run", tmp_path/"demo")        # still open: said before any work
    assert status == 2 and ".demo.old" in err and "1/4" not in err
    opened.pop().close()
    monkeypatch.setattr(c, "rename", rename)
    assert cli("covid_demo", "--run", tmp_path/"demo")[0] == 0 and names(tmp_path) == ["demo"]
