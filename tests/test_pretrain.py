"""Computed patients first: made once, kept, killed, waited for. The network is one convolution: it trains in no time."""
import json, os, shutil, subprocess, sys, time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

import covid_nbdev.pretrain as p
import covid_nbdev.run as run_module
from conftest import ROOT
from covid_nbdev.core import BadInput
from covid_nbdev.run import load_config, load_model, train_parallel, train_run
from covid_nbdev.train import TrainConfig
from test_runs import dot, measured, one_line, same, small_network      # the last one patches every test here

CONFIG = TrainConfig(epochs=3, size=64, batch_size=8, lr=.03, encoder="efficientnet-b0", patience=9, seed=1, weights="phantom")
FEW = dict(slices=6, epochs=1, device="cpu", progress=False, on_epoch=None)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("COVID_CACHE", str(tmp_path/"cache"))
    return tmp_path/"cache"


@pytest.fixture(autouse=True, scope="module")
def patients(tmp_path_factory):
    "The same request gives the same patients: what one test had computed, the next ones copy. (But not processes of their own.)"
    kept, compute = tmp_path_factory.mktemp("patients"), p.write_phantom_dataset
    def once(path, *request, **more):
        made = kept/repr((request, more))
        return Path(shutil.copytree(made if made.is_dir() else compute(made, *request, **more), path))
    with pytest.MonkeyPatch.context() as m:
        m.setattr(p, "write_phantom_dataset", once)
        yield


def names(folder): return sorted(f.name for f in folder.iterdir())


def test_made_once_for_each_setting(cache, tmp_path, monkeypatch, capsys):
    "What makes no difference makes no other file. COVID_CACHE moves them all."
    file = p.pretrain(CONFIG, **FEW)
    assert "computed patients first: 6 slices, 1 epochs at 64 pixels" in capsys.readouterr().out
    monkeypatch.setattr(p, "_make", None)       # nothing is made from here on
    for same in (CONFIG, replace(CONFIG, workers=3, lr=.1, epochs=9, batch_size=2, patience=1, loss="ce+dice", jitter=.1)):
        assert p.pretrain(same, **FEW) == file and "made earlier" in capsys.readouterr().out
    assert names(cache) == [file.name]
    others = [p.recipe(replace(CONFIG, **change), 6, 1)[1] for change in (dict(seed=2), dict(size=96), dict(upsample="nearest"), dict(encoder="lite2"),
                                                                          dict(precision="bf16"))]
    others += [p.recipe(CONFIG, 7, 1)[1], p.recipe(CONFIG, 6, 2)[1]]
    monkeypatch.setattr(p, "PHANTOM_VERSION", 99)
    others += [p.recipe(CONFIG, 6, 1)[1]]
    assert len({file, *map(p._entry, others)}) == 9
    monkeypatch.setenv("COVID_CACHE", str(tmp_path/"elsewhere"))
    assert p._entry(others[0]).parent == tmp_path/"elsewhere"
    assert p.recipe(replace(CONFIG, size=512), 6, 1)[0].size == 256


def test_a_damaged_file_is_made_anew(cache, monkeypatch, capsys):
    "Cut, with another bit, empty, with another header, or of other settings: named in one line."
    file = p.pretrain(CONFIG, **FEW)
    whole = file.read_bytes()
    monkeypatch.setattr(p, "_make", lambda file, *rest, **how: file.write_bytes(whole))
    for damaged in (whole[:-4], whole[:-1] + bytes([whole[-1] ^ 1]), b"", whole[:8] + b"[" + whole[9:], whole.replace(b'slices\\": 6', b'slices\\": 7')):
        assert damaged != whole
        file.write_bytes(damaged)
        capsys.readouterr()
        assert p.pretrain(CONFIG, **FEW) == file and file.read_bytes() == whole
        assert capsys.readouterr().out.count(f"damaged, so it is made anew: {file}") == 1
    assert load_model(file)[1]["pretrained"] == p.read_about(file)["pretrained"] and names(cache) == [file.name]


KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[1:3]
import covid_nbdev.pretrain as p, covid_nbdev.run as run_module, covid_nbdev.train as train_module
from test_runs import dot
for module in (run_module, train_module): module.build_model = dot
run_module.bare_model = dot
from covid_nbdev.etl import Store
from test_pretrain import CONFIG, FEW
def kill_after(n): return lambda row, config: os.kill(os.getpid(), signal.SIGKILL) if row["epoch"] == n else print(row["epoch"], flush=True)
start = p.pretrain(CONFIG, **FEW | dict(epochs=3, on_epoch=kill_after(int(sys.argv[5]))))
run_module.train_run(Store(sys.argv[3]), sys.argv[4], CONFIG, device="cpu", progress=False, on_epoch=kill_after(2), start=start)
"""


def test_killed_twice_and_resumed(store, cache, tmp_path, monkeypatch, python):
    "kill -9 on computed patients, then in the training itself; to the last bit what an undisturbed one gives."
    def killed(epoch):
        env = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
        done = subprocess.run([python, "-c", KILLED, ROOT, ROOT/"tests", store.path, tmp_path/"cut", str(epoch)], env=env, capture_output=True, text=True)
        assert done.returncode == -9, done.stderr
        return done.stdout
    killed(2)
    assert not list(cache.glob("*.safetensors")) and not (tmp_path/"cut").exists()
    assert killed(9).splitlines()[-2:] == ["3", "1"], "the third epoch on computed patients, the first of the run"
    train_run(store, tmp_path/"cut", CONFIG, True, "cpu", False, None)
    (kept,) = cache.iterdir()
    monkeypatch.setenv("COVID_CACHE", str(tmp_path/"other"))
    start = p.pretrain(CONFIG, **FEW | dict(epochs=3))
    assert start.read_bytes() == kept.read_bytes()
    train_run(store, tmp_path/"whole", CONFIG, device="cpu", progress=False, on_epoch=None, start=start)
    same(tmp_path/"cut", tmp_path/"whole")
    assert load_model(tmp_path/"cut")[1]["pretrained"] == load_model(start)[1]["pretrained"]


def test_two_want_the_same(cache, capsys, monkeypatch):
    "The second waits, and takes what the first made; if its time is over before, it says who works there."
    file = p._entry(p.recipe(CONFIG, 6, 1)[1])
    file.with_suffix("").mkdir(parents=True)
    lock = run_module.FileLock(file.with_suffix("")/".lock")
    lock.acquire()
    (file.with_suffix("")/".lock.txt").write_text("process 1 on there")
    with pytest.raises(BadInput, match="process 1 on there"): p.pretrain(CONFIG, **FEW, deadline_s=.1)
    monkeypatch.setattr(p.time, "sleep", lambda s: lock.release())
    assert p.pretrain(CONFIG, **FEW) == file and capsys.readouterr().out.count("waiting for the same weights") == 2
    assert names(cache) == [file.name]


def test_all_who_wait_get_it(cache, monkeypatch):
    "The lock is taken once and kept: between a look and a taking, another one that waits would come first."
    taken, lock_run_itself = [], p.lock_run
    monkeypatch.setattr(p, "lock_run", lambda folder: taken.append(folder) or lock_run_itself(folder))
    monkeypatch.setattr(p, "_make", lambda file, *rest, **how: file.touch())
    assert p.pretrain(CONFIG, **FEW).exists() and len(taken) == 1


def test_the_patients_cost_time(cache, monkeypatch):
    "The time limit counts what computing them takes."
    left = []
    for name in ("write_phantom_dataset", "Store"): monkeypatch.setattr(p, name, lambda *args, **how: None)
    monkeypatch.setattr(p, "build_store", lambda *args, **how: time.sleep(.2))
    monkeypatch.setattr(p, "train_run", lambda *args, deadline_s, **how: left.append(deadline_s) or [])
    with pytest.raises(BadInput, match="after 0 of 1 epochs"): p.pretrain(CONFIG, **FEW, deadline_s=100)
    assert 90 < left[0] < 99.8


def test_time_is_over(cache):
    "What was trained stays, and the next call goes on from there."
    rows = []
    few = FEW | dict(epochs=3, on_epoch=lambda row, config: rows.append(row["epoch"]))
    for _ in range(2):
        with pytest.raises(BadInput, match="after [12] of 3 epochs on computed patients"): p.pretrain(CONFIG, **few, deadline_s=0)
    assert p.pretrain(CONFIG, **few).is_file() and rows == [1, 2, 3]


def test_what_is_refused(tmp_path, monkeypatch):
    for wrong in (dict(slices=3), dict(epochs=0)):
        with pytest.raises(BadInput): p.pretrain(CONFIG, **FEW | wrong)
    with monkeypatch.context() as m:
        m.setenv("WORLD_SIZE", "2")
        with pytest.raises(BadInput, match="--gpus"): p.pretrain(CONFIG, **FEW)
    (tmp_path/"file").touch()
    monkeypatch.setenv("COVID_CACHE", str(tmp_path/"file"))
    with pytest.raises(BadInput, match="COVID_CACHE"): p.pretrain(CONFIG, **FEW)
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("system, variable, place", [("linux", "XDG_CACHE_HOME", "x/covid_nbdev"), ("linux", "", "home/.cache/covid_nbdev"),
                                                     ("darwin", "", "home/Library/Caches/covid_nbdev"), ("any", "COVID_CACHE", "x")])
def test_folder(system, variable, place, tmp_path, monkeypatch):
    for name in ("COVID_CACHE", "XDG_CACHE_HOME"): monkeypatch.delenv(name, raising=False)
    if variable: monkeypatch.setenv(variable, str(tmp_path/"x"))
    monkeypatch.setattr(p.sys, "platform", system); monkeypatch.setattr(Path, "home", lambda: tmp_path/"home")
    assert p.cache_folder() == tmp_path/place


def test_several_processes_get_the_file(store, tmp_path, monkeypatch):
    tasks = []
    monkeypatch.setattr(run_module, "_launch", lambda task, *rest: tasks.append(task))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError): train_parallel(store, "run", CONFIG, 2, device="cpu", start=Path("w.safetensors"))
    assert json.loads(json.dumps(tasks))[0]["start"] == str(tmp_path/"w.safetensors")


def test_command(store, cache, tmp_path, cli, monkeypatch):
    "Ctrl-C on computed patients, --resume, results that say so; --resume of a finished run asks for no file."
    run = tmp_path/"run"
    def ctrl_c(row, config): raise KeyboardInterrupt
    few, whole = FEW | dict(epochs=2), p.pretrain
    few.pop("device")
    monkeypatch.setattr(p, "pretrain", partial(whole, **few | dict(on_epoch=ctrl_c)))
    status, _, err = cli("covid_train", store.path, run, "--weights", "phantom", "--epochs", 1, "--size", 64)
    assert status == 130 and f"covid_train {store.path} {run} --resume" in err and names(run) == ["config.json"]
    monkeypatch.setattr(p, "pretrain", partial(whole, **few))
    status, out, err = cli("covid_train", store.path, run, "--resume")
    assert status == 0 and "computed patients first" in out, err
    assert load_config(run).weights == "phantom"
    first = json.loads((run/"metrics.json").read_text())["pretrained"]
    assert (first["phantom"], first["slices"], first["epochs"], first["train_slices"]) == (p.PHANTOM_VERSION, 6, 2, 5)
    card = (run/"model_card.md").read_text(encoding="utf-8")
    assert f"start: pretrained on {first['patients']} computed patients, no real data (5 slices, 2 epochs at 64 pixels" in card
    monkeypatch.setattr(p, "pretrain", None)
    status, out, err = cli("covid_train", store.path, run, "--resume", "--epochs", 2)
    assert status == 0 and json.loads((run/"metrics.json").read_text())["pretrained"] == first, err
    one_line(cli("covid_train", store.path, run, "--resume", "--weights", "none"), "weights phantom")
