"""Several processes, small batches added up, and 16 bits: the same training as one process with whole batches in 32."""
import json, multiprocessing, os, shutil, signal, subprocess, sys, time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import covid_nbdev.run as t
from covid_nbdev.adam import Adam
from covid_nbdev.etl import Store, split
from covid_nbdev.core import BadInput
from covid_nbdev.run import train_run, train_parallel
from covid_nbdev.train import Learner, TrainConfig
from covid_nbdev.unet import UNet

BIN = Path(sys.executable).parent
B0 = dict(size=32, encoder="efficientnet-b0", precision="fp32", patience=9)
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}

# Trains lesson 11's network (in 64 bits, efficientnet-b0 takes a minute) with batch normalization in eval mode, so that it does not
# matter how a batch is cut; in 64 bits, so that it does not matter in which order numbers are added up (Adam makes much of a tiny
# gradient's sign).
# Prints what validation counted in each epoch: slices, and pixels.
FROZEN = """
import json, os, sys
import torch
import covid_nbdev.run as run
import covid_nbdev.train as train
from covid_nbdev.etl import Store
from covid_nbdev.unet import UNet
summed = train.summed

def frozen(*args):
    model = UNet(width=8)
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d): m.train = lambda mode=True, m=m: torch.nn.Module.train(m, False)
    model.register_forward_pre_hook(lambda m, inputs: (inputs[0].double(),))
    return model.double()

def recorded(total, n, counts):
    out = summed(total, n, counts)
    seen.append([int(out[1]), int(out[2].sum())])
    return out

run.build_model, train.summed = frozen, recorded
store, folder, *configs = sys.argv[1:]
for config in map(json.loads, configs):
    seen = []
    name = f"{folder}{config['batch_size']}"
    run.train_run(Store(store), name, train.TrainConfig(**config), device=torch.device("cpu"), progress=False, on_epoch=None)
    os.write(1, f"counted {json.dumps(seen[1::2])}\\n".encode())      # in one piece: the other process writes, too
if torch.distributed.is_initialized(): torch.distributed.destroy_process_group()
"""
LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no",
          "--dynamo_backend", "no", "--main_process_port", "0", "--no_python"]


@pytest.fixture(scope="module")
def odd(store, tmp_path_factory):
    "A part of the small phantom: 16 slices train; the five that validate don't fill the last batch of four."
    folder = Path(shutil.copytree(store.path, tmp_path_factory.mktemp("odd")/"store"))
    index = pd.read_csv(folder/"index.csv", dtype=str, keep_default_na=False)
    train = index.index[index["split"] == "train"]
    index.loc[train[16], "split"] = "valid"
    index.loc[train[17:], "split"] = "test"
    index.to_csv(folder/"index.csv", index=False, lineterminator="\n")
    part = Store(folder)
    assert (len(split(part).train), len(split(part).valid)) == (16, 5)
    return part


def train_frozen(python, store, folder, launch=()):
    "Batches of 8, and of 4 with two for a step: both histories, and what each process counted."
    script = folder.with_suffix(".py")
    script.write_text(FROZEN)
    configs = [json.dumps(asdict(TrainConfig(epochs=2, batch_size=n, accumulate=8//n, lr=3e-3, **B0))) for n in (8, 4)]
    r = subprocess.run([python, *launch, *([python] if launch else []), script, store.path, folder, *configs], env=ONE_THREAD, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr[-3000:]
    counted = [json.loads(line.split("counted ")[1]) for line in r.stdout.splitlines() if line.startswith("counted")]
    return [pd.read_csv(Path(f"{folder}{n}")/"history.csv") for n in (8, 4)], counted


def test_two_processes_and_accumulation_equal_one(odd, tmp_path, python):
    "Equal losses, mIoU and learning rates; every validation slice and pixel counted once, by each process's own word."
    n = len(split(odd).valid)
    (one, added), counted = train_frozen(python, odd, tmp_path/"one")
    assert counted == [[[n, n*32*32]]*2]*2
    assert one["train_loss"].iloc[1] < one["train_loss"].iloc[0] - .01, "it must learn, or equality says nothing"
    (two, both), counted = train_frozen(python, odd, tmp_path/"two", LAUNCH)
    assert counted == [[[n, n*32*32]]*2]*4
    for other in (two, added, both):
        for column in one.columns.drop("seconds"): np.testing.assert_allclose(other[column], one[column], rtol=0, atol=1e-9)


@pytest.fixture
def small_network(monkeypatch):
    "Lesson 11's network in place of the encoder's, with batch normalization as that, and with dropout, which draws random numbers."
    monkeypatch.setattr(t, "build_model", lambda *args: torch.nn.Sequential(UNet(width=8), torch.nn.Dropout(.1)))


def left(run) -> bool:
    "Is a process of this run's training still there?"
    return str(run) in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout


def test_train_parallel(odd, tmp_path, capfd, monkeypatch, python):
    "What the processes do is seen here as if `train_run` ran; they end by Ctrl-C (a notebook's stop button), and the training goes on; both models are one."
    rows, config, run = [], TrainConfig(epochs=2, batch_size=8, **B0), tmp_path/"run"
    monkeypatch.setattr(sys, "executable", python)
    def stop(row, config):
        rows.append(row)
        os.kill(os.getpid(), signal.SIGINT)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt): train_parallel(odd, run, config, processes=2, device="cpu", on_epoch=stop)
    finally: signal.signal(signal.SIGINT, before)
    assert len(rows) == 1 and not left(run)
    state = torch.load(run/"last.pt", weights_only=True)
    assert len(state["history"]) == 1 and len(state["random"]) == 2 and not torch.equal(*[s[0] for s in state["random"]])
    whole = train_parallel(odd, run, config, processes=2, device="cpu", resume=True, on_epoch=None)
    assert whole["epoch"].tolist() == [1, 2] and whole.iloc[0].to_dict() == rows[0]
    pd.testing.assert_frame_equal(whole, pd.read_csv(run/"history.csv"), rtol=1e-12)
    assert capfd.readouterr().err == ""


def test_killed_parent_leaves_no_process(odd, tmp_path, monkeypatch, python):
    "Its end (a kernel's restart): its processes notice that their standard input has ended; what was saved can be gone on with."
    run, endless = tmp_path/"run", TrainConfig(epochs=500, batch_size=8, **B0 | {"patience": 500})
    monkeypatch.setattr(sys, "executable", python)
    parent = multiprocessing.get_context("fork").Process(target=train_parallel, args=(odd, run, endless),
                                                         kwargs=dict(processes=2, device="cpu", on_epoch=None))
    parent.start()
    while not (run/"last.pt").is_file():
        assert parent.is_alive()
        time.sleep(.1)
    parent.kill()
    parent.join()
    deadline = time.monotonic() + 30
    while left(run) and time.monotonic() < deadline: time.sleep(.2)
    assert not left(run)
    torch.load(run/"last.pt", weights_only=True)


def test_problems_come_through(odd, tmp_path, monkeypatch):
    "Anything but what a user can mend says what the process said. (The other: a batch of 7 for two, in 14a.)"
    (broken := tmp_path/"python").write_text("#!/bin/sh\necho broken pipe organ >&2\nexit 1\n")
    broken.chmod(0o755)
    with monkeypatch.context() as m:
        m.setattr(sys, "executable", str(broken))
        with pytest.raises(RuntimeError, match="broken pipe organ"):
            train_parallel(odd, tmp_path/"b", TrainConfig(epochs=1, **B0), processes=2, device="cpu")
    monkeypatch.setattr(t, "gpu_verdicts", lambda: ["", ""])
    monkeypatch.setattr(t, "check_gpu", lambda want: torch.device("cuda", 0))
    with pytest.raises(BadInput, match="3 processes and 2 GPUs"):
        train_parallel(odd, tmp_path/"c", TrainConfig(epochs=1, **B0), processes=3)


# In place of torchrun and its processes: one reports, in the way of `_process_main`, and is gone at once; the other prints without an end,
# no whole lines, until it is killed.
NOISY = """#!{python}
import json, os, signal
def child(work):
    if (pid := os.fork()): return pid
    work()
    os._exit(2)
def noise():
    while True: os.write(1, b"[W] half a line {{")
def report(**line): os.write(1, f"\\n{{json.dumps(line)}}\\n".encode())
def problem(): report(note="word"); report(row=dict(epoch=1)); report(problem=["this", "that", "x"*3000])
other, first = child(noise), child(problem)
os.waitpid(first, 0)
os.kill(other, signal.SIGKILL)
os._exit(1)
"""


def test_a_report_in_the_midst_of_noise(tmp_path, monkeypatch, capsys):
    "The line arrives whatever the other process prints, and however it ends: ten times in a row."
    (stub := tmp_path/"python").write_text(NOISY.format(python=sys.executable))
    stub.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stub))
    for i in range(10):
        rows = []
        with pytest.raises(BadInput, match="found this; expected that; xxx"): t._launch({}, 2, dict(os.environ), rows.append)
        assert rows == [{"epoch": 1}] and capsys.readouterr().out == "word\n"


def test_a_process_reports_what_keeps_it_from_starting(tmp_path, monkeypatch, capfd):
    "A store that is gone is one line, too."
    def ended(status): raise SystemExit(status)
    task = {"store": str(tmp_path/"gone"), "run": "r", "config": {}, "resume": False, "device": "cpu", "end": time.time() + 100}
    monkeypatch.setattr(sys, "argv", ["", json.dumps(task)]); monkeypatch.setattr(t.threading.Thread, "start", lambda self: None)
    monkeypatch.setattr(t, "_note", print); monkeypatch.setattr(os, "_exit", ended)
    with pytest.raises(SystemExit): t._process_main()
    assert json.loads(capfd.readouterr().out)["problem"][0] == "no store in gone"


def test_batches_that_processes_can_share(odd):
    "Both loaders' batches: with few slices those of training are smaller. And one slice of 32 pixels each is too little."
    def check(batch_size, size, processes):
        config = TrainConfig(batch_size=batch_size, size=size, encoder="efficientnet-b0")
        t._check_shares(t.dataloaders(odd, size, batch_size), config, processes)
    assert len(split(odd).train) == 16      # so training batches are of 16, which two can share, validation's of 17
    with pytest.raises(BadInput, match="batches of 17 at 64 pixels for 2 GPUs"): check(17, 64, 2)
    with pytest.raises(BadInput, match="batches of 2 at 32 pixels for 2 GPUs"): check(2, 32, 2)
    check(4, 32, 2); check(2, 64, 2); check(17, 64, 1)


def test_gpus_are_numbered_as_the_user_sees_them(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    assert t._environment([0, 2])["CUDA_VISIBLE_DEVICES"] == "4,7"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert t._environment([1])["CUDA_VISIBLE_DEVICES"] == "1"
    assert "CUDA_VISIBLE_DEVICES" not in t._environment([])


def test_covid_train_under_a_launcher(odd, tmp_path, python):
    "As `accelerate launch` starts it: the command once per process; one run, one table of results, the whole set of files."
    run = tmp_path/"run"
    small = ["--epochs", "1", "--size", "32", "--batch_size", "8", "--encoder", "efficientnet-b0", "--device", "cpu"]
    r = subprocess.run([python, *LAUNCH, python, BIN/"covid_train", odd.path, run, *small], env=ONE_THREAD, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr[-3000:]
    assert r.stdout.count("epoch   1/1") == r.stdout.count("metrics.json") == 1
    assert {"best.safetensors", "last.pt", "metrics.json", "submission.csv"} <= {p.name for p in run.iterdir()}


def test_on_one_cpu_it_is_the_plain_loop(odd, tmp_path, small_network):
    "To the last bit: the lesson's first loop, `fit` and `train_run` give the same weights."
    config = TrainConfig(epochs=1, batch_size=8, **B0)
    def fresh():
        torch.manual_seed(config.seed)
        loaders = t.dataloaders(odd, config.size, config.batch_size, config.seed, rotate=config.rotate)
        return loaders, t.build_model(config.encoder).to(memory_format=torch.channels_last)
    train_run(odd, tmp_path/"run", config, device="cpu", progress=False, on_epoch=None)
    loaders, fitted = fresh()
    t.fit(fitted, loaders, config)
    loaders, model = fresh()
    optimizer = Adam(model.train().parameters(), lr=config.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=config.lr, total_steps=len(loaders.train))
    loaders.train.dataset.epoch = 1
    for x, y in loaders.train:
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step(); schedule.step(); optimizer.zero_grad()
    saved = torch.load(tmp_path/"run"/"last.pt", weights_only=True)["model"]
    for k, v in model.state_dict().items(): assert torch.equal(saved[k], v) and torch.equal(fitted.state_dict()[k], v), k


def test_time_to_start_processes_counts(monkeypatch):
    "A deadline is seconds from the call of `train_parallel`, not from when its processes are up."
    task = {"store": "s", "run": "r", "config": {}, "resume": False, "device": "cpu", "start": None, "end": time.time() + 100}
    class Ready(Exception): pass
    def ready(*args, deadline_s, **more): raise Ready(deadline_s)
    monkeypatch.setattr(t, "train_run", ready); monkeypatch.setattr(t, "Store", str); monkeypatch.setattr(t, "_note", print)
    monkeypatch.setattr(sys, "argv", ["", json.dumps(task)]); monkeypatch.setattr(t.threading.Thread, "start", lambda self: None)
    monkeypatch.setattr(time, "time", lambda now=time.time() + 30: now)
    with pytest.raises(Ready) as e: t._process_main()
    assert 65 < e.value.args[0] < 71


def test_half_precision_on_the_cpu(odd, tmp_path, small_network):
    "bf16: other losses than fp32, close to them; weights are kept in 32 bits; resumed exactly, with accumulation."
    settings = dict(epochs=2, batch_size=4, accumulate=2, lr=1e-3, **(B0 | {"precision": "bf16"}))
    config = TrainConfig(**settings)
    def trained(name, config, **more): return train_run(odd, tmp_path/name, config, device="cpu", progress=False, **{"on_epoch": None, **more})
    whole, exact = trained("bf16", config), trained("fp32", replace(config, precision="fp32"))
    difference = (whole["train_loss"] - exact["train_loss"]).abs()
    assert (difference > 0).all() and (difference < .05).all()
    weights = [torch.load(tmp_path/name/"last.pt", weights_only=True)["model"] for name in ("bf16", "fp32")]
    assert all(v.dtype != torch.bfloat16 for w in weights for v in w.values())
    def stop(row, c): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): trained("cut", config, on_epoch=stop)
    trained("cut", config, resume=True)
    again = torch.load(tmp_path/"cut"/"last.pt", weights_only=True)["model"]
    assert all(torch.equal(again[k], v) for k, v in weights[0].items())
    with pytest.raises(BadInput, match="fp16 without a GPU"): trained("fp16", replace(config, precision="fp16"))


def test_class_weights_reach_the_loss(odd, tmp_path):
    "Balanced weights: the loss on the same untrained network is that of hand-made weights."
    pixels = np.bincount(np.concatenate([odd.labels[r].ravel() for r in split(odd).train]), minlength=4)
    loss = Learner(torch.nn.Conv2d(1, 4, 1), t.dataloaders(odd, 64), TrainConfig(class_weights="balanced")).loss_fn
    by_hand = torch.nn.CrossEntropyLoss(torch.tensor(pixels.sum()/(4*pixels)).float())
    logits, labels = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(128).reshape(2, 8, 8) % 4
    assert torch.equal(loss(logits, labels), by_hand(logits, labels)) and loss(logits, labels) != torch.nn.functional.cross_entropy(logits, labels)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
                                   RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")], ids=str)
def test_out_of_memory_says_what_to_try(odd, tmp_path, monkeypatch, error):
    def full(*args): raise error
    monkeypatch.setattr("covid_nbdev.train.train_epoch", full)
    with pytest.raises(BadInput, match="--batch_size 4 --accumulate 4"):
        train_run(odd, tmp_path/"a", TrainConfig(batch_size=8, accumulate=2, **B0), device="cpu")
    with pytest.raises(BadInput, match="smaller --size"):
        train_run(odd, tmp_path/"b", TrainConfig(batch_size=1, **(B0 | {"size": 64})), device="cpu")
    def other(*args): raise RuntimeError("something else")
    monkeypatch.setattr("covid_nbdev.train.train_epoch", other)
    with pytest.raises(RuntimeError, match="something else"): train_run(odd, tmp_path/"c", TrainConfig(**B0), device="cpu")
