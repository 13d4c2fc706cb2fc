"""A run's identity, lock and settings; more epochs; the best epoch by lesions. The network is one convolution: it trains in no time."""
import errno, json, os, shutil, signal, subprocess, sys, time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import covid_nbdev.run as run_module
import covid_nbdev.train as train_module
from covid_nbdev.augment import dataloaders
from covid_nbdev.core import BadInput
from covid_nbdev.etl import Store, build_store
from covid_nbdev.run import load_config, load_model, lock_run, train_parallel, train_run
from covid_nbdev.train import HISTORY, Learner, TrainConfig, fit, plot_history

CONFIG = dict(epochs=3, size=32, batch_size=8, lr=.03, encoder="efficientnet-b0", patience=9, seed=1)


def dot(*args, **kwargs):
    "A network that draws random numbers, as one that skips blocks does."
    return nn.Sequential(nn.Conv2d(1, 4, 1), nn.Dropout(.1))


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    for module, name in ((run_module, "build_model"), (run_module, "bare_model"), (train_module, "build_model")): monkeypatch.setattr(module, name, dot)


@pytest.fixture
def scripted(monkeypatch):
    "Epochs that learn nothing and measure what is written here: scripted(losses, lesions)."
    def play(losses, lesions=None):
        rows = iter(zip(losses, lesions or [.1]*len(losses)))
        def learn(learner):
            learner.step()
            return {"train_loss": 1., "train_miou": .1, "lr": learner.lr}
        def measure(learner):
            loss, lesion = next(rows)
            return {"valid_loss": loss, "valid_miou": .1, "valid_lesion_miou": lesion}
        monkeypatch.setattr(train_module, "train_epoch", learn); monkeypatch.setattr(train_module, "valid_epoch", measure)
    return play


@pytest.fixture
def measured(monkeypatch):
    "covid_train without the measuring at its end."
    import covid_nbdev.cli
    monkeypatch.setattr(covid_nbdev.cli, "_print_results", lambda *args: print("measured"))


def trained(store, run, resume=False, on_epoch=None, **settings):
    return train_run(store, run, TrainConfig(**(CONFIG | settings)), resume, "cpu", progress=False, on_epoch=on_epoch)


def state(run): return torch.load(run/"last.pt", weights_only=True)


def files(run): return {p.name: p.read_bytes() for p in run.iterdir()}


def same(a, b):
    "Equal to the last bit, but for the seconds."
    one, two = state(a), state(b)
    assert all(torch.equal(one["model"][k], v) for k, v in two["model"].items()) and one["schedule"] == two["schedule"]
    ha, hb = (pd.read_csv(r/"history.csv").drop(columns="seconds") for r in (a, b))
    pd.testing.assert_frame_equal(ha, hb, check_exact=True)


def one_line(result, *words):
    status, _, err = result
    assert status == 2 and err.count("\n") == 1 and all(word in err for word in words), err


def stop_after(n):
    def stop(row, config):
        if row["epoch"] == n: raise KeyboardInterrupt
    return stop


# ---- settings are checked wherever a training starts

WRONG = [dict(class_weights="balance"), dict(patience=0), dict(size=100), dict(best="miou"), dict(upsample="bilinear"), dict(loss="mse"),
         dict(precision="fp8"), dict(epochs=2.5), dict(lr="0.1"), dict(rotate=200), dict(jitter=.6), dict(jitter=-.1), dict(epochs=True), dict(seed=-1), dict(accumulate=0),
         dict(crop_size=48), dict(crop_size=0), dict(tta=1), dict(tta="yes")]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda w: next(iter(w)))
def test_wrong_settings_are_refused_before_anything_is_written(store, tmp_path, wrong):
    config, (name, value) = TrainConfig(**(CONFIG | wrong)), *wrong.items()
    loaders = dataloaders(store, 32)
    for start in (lambda: Learner(dot(), loaders, config), lambda: fit(dot(), loaders, config), lambda: train_run(store, tmp_path/"run", config),
                  lambda: train_parallel(store, tmp_path/"run", config, processes=2, device="cpu")):
        with pytest.raises(BadInput, match=f"{name}.*{value}"): start()
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_cannot_work_leaves_no_folder(store, tmp_path, monkeypatch):
    def thin(*args, **kwargs): return nn.Conv2d(1, 4, 64)
    monkeypatch.setattr(run_module, "build_model", thin)
    with pytest.raises(BadInput, match="can't take slices of 32"): trained(store, tmp_path/"run")
    assert list(tmp_path.iterdir()) == []


def test_numbers_of_numpy_and_paths(store, tmp_path):
    "A search over settings gives NumPy's numbers: they train, are saved, and can be gone on with."
    numbers = dict(epochs=np.int64(2), lr=np.float32(.03), size=np.int32(32), seed=np.uint8(1), rotate=np.float64(90), batch_size=np.int16(8))
    history = trained(store, tmp_path/"run", **numbers)
    saved = json.loads((tmp_path/"run"/"config.json").read_text())
    assert len(history) == 2 and saved["epochs"] == 2 and saved["rotate"] == 90 and saved["lr"] == pytest.approx(.03)
    assert len(trained(store, tmp_path/"run", resume=True, **numbers)) == 2
    assert TrainConfig(weights=Path("a")/"b.pt").check(start=False).weights == os.path.join("a", "b.pt")
    assert TrainConfig(rotate=180., lr=1).check(start=False).rotate == 180 and TrainConfig(jitter=0).check(start=False).jitter == 0


def test_rotate_by_command(store, tmp_path, cli, measured):
    for value in ("180", "7.5", "0"):
        status, _, err = cli("covid_train", store.path, tmp_path/value, "--rotate", value, "--epochs", 1, "--size", 32)
        assert status == 0 and load_config(tmp_path/value).rotate == float(value), err


def test_jitter_reaches_the_slices(store, tmp_path, monkeypatch, cli, measured):
    "Gain 1 ± jitter, offset ± 500·jitter HU; the command's, the settings', and an interrupted run's."
    asked, loaders = [], run_module.dataloaders
    monkeypatch.setattr(run_module, "dataloaders", lambda *args, **augment: asked.append(augment) or loaders(*args, **augment))
    status, _, err = cli("covid_train", store.path, tmp_path/"command", "--jitter", ".15", "--epochs", 1, "--size", 32)
    assert status == 0 and load_config(tmp_path/"command").jitter == .15, err
    trained(store, tmp_path/"plain"); trained(store, tmp_path/"whole", jitter=.15)
    with pytest.raises(KeyboardInterrupt): trained(store, tmp_path/"run", on_epoch=stop_after(1), jitter=.15)
    trained(store, tmp_path/"run", resume=True, jitter=.15)
    same(tmp_path/"run", tmp_path/"whole")
    with pytest.raises(AssertionError): same(tmp_path/"plain", tmp_path/"whole")
    assert asked == [dict(rotate=20, gain=j, offset_hu=500*j) for j in (.15, 0, .15, .15, .15)]


def test_a_run_from_before_jitter_goes_on(store, tmp_path):
    "Its config.json doesn't name it: it has none."
    with pytest.raises(KeyboardInterrupt): trained(store, tmp_path/"run", on_epoch=stop_after(1))
    config = json.loads((tmp_path/"run"/"config.json").read_text())
    assert config.pop("jitter") == 0
    (tmp_path/"run"/"config.json").write_text(json.dumps(config))
    assert load_config(tmp_path/"run").jitter == 0 and len(trained(store, tmp_path/"run", resume=True)) == 3
    trained(store, tmp_path/"whole")
    same(tmp_path/"run", tmp_path/"whole")


# ---- the best epoch

def test_history_counts_lesions(store, tmp_path, capsys):
    history = trained(store, tmp_path/"run", on_epoch=run_module._print_epoch)
    assert list(history.columns) == HISTORY == ["epoch", "train_loss", "valid_loss", "train_miou", "valid_miou", "valid_lesion_miou", "lr", "seconds"]
    model, about = load_model(tmp_path/"run")
    loaders = dataloaders(store, 32)
    cm = train_module.ConfusionMatrix()
    with torch.no_grad():
        for x, y in loaders.valid: cm.update(model(x).argmax(1), y)
    assert history["valid_lesion_miou"][about["epoch"] - 1] == pytest.approx(cm.miou((0, 1)))
    line = capsys.readouterr().out.splitlines()[1]
    assert f"lesions {history['valid_lesion_miou'][1]:.3f}" in line and "epoch   2/3" in line


def test_the_last_epoch_is_kept(store, tmp_path, scripted, cli, measured):
    "However bad it is; an interrupted run keeps its last, too. Patience would wait in vain."
    with pytest.raises(BadInput, match="patience, and best last"): TrainConfig(best="last", patience=3).check(start=False)
    settings = dict(best="last", patience=None, epochs=4)
    scripted([1, 1, 9, 9, 9], [.5, .4, .1, .1, .1])
    history = trained(store, tmp_path/"run", **settings)
    assert load_model(tmp_path/"run")[1]["epoch"] == 4
    assert "best epoch: 4" in [t.get_text() for t in plot_history(history, load_config(tmp_path/"run")).axes[0].get_legend().get_texts()]
    model, loaders = dot(), dataloaders(store, 32)
    scripted([1, 9])
    fit(model, loaders, TrainConfig(**CONFIG | dict(best="last", patience=None, epochs=2)), [(kept := Kept())])
    assert torch.equal(model[0].weight, kept.weight)
    scripted([1]*8)
    with pytest.raises(KeyboardInterrupt): trained(store, tmp_path/"cut", on_epoch=stop_after(2), **settings)
    assert load_model(tmp_path/"cut")[1]["epoch"] == 2
    trained(store, tmp_path/"cut", resume=True, **settings)
    assert load_model(tmp_path/"cut")[1]["epoch"] == 4


class Kept:
    "A callback: the weights after the last epoch."
    def after_epoch(self, learn): self.weight = learn.model[0].weight.detach().clone()


def test_smaller_crops_in_training(store, tmp_path, cli, measured):
    "Training sees crops of crop_size, validation whole slices of size; the run's input stays `size`. Resuming is exact."
    sides = []
    class Look:
        def after_batch(self, learn): sides.append(("train", learn.loaders.train.dataset[0][0].shape[-1]))
        def before_validate(self, learn): sides.append(("valid", learn.loaders.valid.dataset[0][0].shape[-1]))
    config = TrainConfig(**CONFIG | dict(size=64, crop_size=32, epochs=1))
    fit(dot(), dataloaders(store, 64, 8, crop_size=config.crop_size), config, [Look()])
    assert set(sides) == {("train", 32), ("valid", 64)}
    whole, crops = (trained(store, tmp_path/name, size=64, **more) for name, more in (("plain", {}), ("crops", dict(crop_size=32))))
    assert not whole.train_loss.equals(crops.train_loss) and load_model(tmp_path/"crops")[1]["size"] == 64
    with pytest.raises(KeyboardInterrupt): trained(store, tmp_path/"run", on_epoch=stop_after(1), size=64, crop_size=32)
    trained(store, tmp_path/"run", resume=True, size=64, crop_size=32)
    same(tmp_path/"run", tmp_path/"crops")


@pytest.mark.parametrize("best, epoch, epochs", [("valid_loss", 2, 4), ("lesion_miou", 3, 5)])
def test_what_is_best(store, tmp_path, scripted, best, epoch, epochs):
    "Which epoch is kept, what patience counts, what the curves mark."
    scripted([3, 1, 2, 2, 2, 2, 2, 2], [.1, .1, .5, .2, .2, .2, .2, .2])
    history = trained(store, tmp_path/"run", best=best, epochs=8, patience=2)
    _, about = load_model(tmp_path/"run")
    assert len(history) == epochs and about["epoch"] == epoch and about["best"] == best
    assert about[best] == {"valid_loss": 1, "lesion_miou": .5}[best]
    labels = [t.get_text() for t in plot_history(history, load_config(tmp_path/"run")).axes[1].get_legend().get_texts()]
    assert f"best epoch: {epoch}" in labels and f"stopped early: {epochs}" in labels and "valid. lesions" in labels


def test_patience_is_asked_for(store, tmp_path, scripted, capsys):
    "Without it a schedule is run to its end, however long nothing gets better: the best may come last. The deck's 7 stops."
    losses = [2, 1] + [3]*9 + [.5]
    scripted(losses)
    assert len(trained(store, tmp_path/"whole", epochs=12, patience=None)) == 12 and load_model(tmp_path/"whole")[1]["epoch"] == 12
    scripted(losses)
    history = trained(store, tmp_path/"deck", epochs=12, patience=7)
    assert len(history) == 9 and load_model(tmp_path/"deck")[1]["epoch"] == 2
    assert TrainConfig().patience is None and TrainConfig(patience=np.int64(7)).check(start=False).patience == 7
    assert not any("stopped" in t.get_text() for t in plot_history(history, TrainConfig(epochs=12)).axes[0].get_legend().get_texts())
    for wrong in (0, -1, 7., "7", True):
        with pytest.raises(BadInput, match="patience.*None: all epochs"): TrainConfig(patience=wrong).check(start=False)


def test_a_run_of_the_old_default_goes_on(store, tmp_path, cli, measured):
    "Its config.json says patience 7: it is read, kept, and printed by name where another is asked for."
    with pytest.raises(KeyboardInterrupt): trained(store, tmp_path/"run", on_epoch=stop_after(1), patience=7)
    assert json.loads((tmp_path/"run"/"config.json").read_text())["patience"] == 7 == load_config(tmp_path/"run").patience
    with pytest.raises(BadInput, match="patience None; expected patience 7"): trained(store, tmp_path/"run", resume=True, patience=None)
    status, _, err = cli("covid_train", store.path, tmp_path/"run", "--resume")
    assert status == 0 and load_config(tmp_path/"run").patience == 7 and len(state(tmp_path/"run")["history"]) == 3, err


def test_best_by_command(store, tmp_path, cli, measured):
    status, _, err = cli("covid_train", store.path, tmp_path/"run", "--best", "lesion_miou", "--epochs", 1, "--size", 32)
    assert status == 0 and load_model(tmp_path/"run")[1]["best"] == "lesion_miou", err
    one_line(cli("covid_train", store.path, tmp_path/"run", "--resume", "--best", "valid_loss"), "best valid_loss", "best lesion_miou")
    one_line(cli("covid_train", store.path, tmp_path/"other", "--best", "loss"), "valid_loss, lesion_miou or last")
    assert not (tmp_path/"other").exists()


def test_no_lesion_to_choose_by(store, tmp_path, cli, scripted):
    "In the validation labels: found out before a folder is there. At the training size alone: after the training, in one line."
    healthy = Path(shutil.copytree(store.path, tmp_path/"healthy"))
    labels = np.array(store.labels)
    labels[labels < 2] = 2
    np.save(healthy/"labels.npy", labels)
    one_line(cli("covid_train", healthy, tmp_path/"run", "--best", "lesion_miou"), "no lesion in the validation slices", "valid_loss")
    for start in (lambda: trained(Store(healthy), tmp_path/"run", best="lesion_miou"),
                  lambda: fit(dot(), dataloaders(Store(healthy), 32), TrainConfig(**CONFIG, best="lesion_miou"))):
        with pytest.raises(BadInput, match="no lesion in the validation slices"): start()
    assert not (tmp_path/"run").exists()
    assert trained(Store(healthy), tmp_path/"loss")["valid_lesion_miou"].isna().all()
    plot_history(pd.read_csv(tmp_path/"loss"/"history.csv"))
    scripted([1]*3, [np.nan]*3)
    with pytest.raises(BadInput, match="no finite lesion mIoU"): trained(store, tmp_path/"nan", best="lesion_miou")


def make_old(run):
    "What a run's folder was before there were a choice of the best epoch and a fingerprint."
    settings = json.loads((run/"config.json").read_text()); del settings["best"]
    (run/"config.json").write_text(json.dumps(settings))
    old = state(run)
    del old["start"], old["store"]["sha256"]
    for row in old["history"]: del row["valid_lesion_miou"]
    torch.save(old, run/"last.pt")
    pd.DataFrame(old["history"]).to_csv(run/"history.csv", index=False)


def test_an_older_run_goes_on(store, tmp_path):
    trained(store, tmp_path/"whole")
    with pytest.raises(KeyboardInterrupt): trained(store, tmp_path/"old", on_epoch=stop_after(2))
    make_old(tmp_path/"old")
    plot_history(pd.read_csv(tmp_path/"old"/"history.csv"))
    assert replace(load_config(tmp_path/"old"), weights=None) == TrainConfig(**CONFIG)
    history = trained(store, tmp_path/"old", resume=True)
    assert history["valid_lesion_miou"].isna().tolist() == [True, True, False]
    assert torch.equal(state(tmp_path/"old")["model"]["0.weight"], state(tmp_path/"whole")["model"]["0.weight"])


# ---- whose run it is

@pytest.fixture(scope="module")
def others(layout, tmp_path_factory):
    "Another set with equal counts: the same patients, mirrored."
    folder = Path(shutil.copytree(layout, tmp_path_factory.mktemp("others")/"layout"))
    for file in folder.glob("*_*.npy"): np.save(file, np.load(file)[:, :, ::-1])
    return build_store(folder, folder.parent/"store", progress=False)


def test_the_same_patients_elsewhere(store, layout, others, tmp_path, cli, measured):
    "Another set of equal counts is refused, and so are other labels and another split; a copy, and a store built anew, are the same."
    run = tmp_path/"run"
    with pytest.raises(KeyboardInterrupt): trained(store, run, on_epoch=stop_after(1))
    before = files(run)
    changed = [Path(shutil.copytree(store.path, tmp_path/name)) for name in ("labels", "index")]
    labels = np.load(changed[0]/"labels.npy"); labels[0, 0, 0] = 2; np.save(changed[0]/"labels.npy", labels)
    table = (changed[1]/"index.csv").read_text(); (changed[1]/"index.csv").write_text(table.replace("medseg,0,", "medseg,99,", 1))
    for other in (others, *map(Store, changed)):
        with pytest.raises(BadInput, match=r"other data .*sha256.*sha256"): trained(other, run, resume=True)
    one_line(cli("covid_train", others.path, run, "--resume"), "other data")
    assert files(run) == before
    moved = Path(shutil.copytree(store.path, tmp_path/"moved"))
    assert len(trained(Store(moved), run, resume=True, epochs=3)) == 3
    anew = build_store(layout, tmp_path/"anew", progress=False)
    assert len(trained(anew, run, resume=True, epochs=4)) == 4


def test_the_fingerprint_is_taken_once(store, tmp_path, monkeypatch):
    taken, fingerprint = [], run_module._fingerprint
    monkeypatch.setattr(run_module, "_fingerprint", lambda store: taken.append(1) or fingerprint(store))
    trained(store, tmp_path/"run"); assert taken == [1]
    trained(store, tmp_path/"run", resume=True); assert taken == [1, 1]


@pytest.mark.parametrize("name, value", [("lr", .1), ("seed", 2), ("rotate", 0), ("jitter", .2), ("batch_size", 4), ("size", 64), ("patience", 3), ("encoder", "resnet18"),
                                         ("upsample", "nearest"), ("loss", "ce+dice"), ("class_weights", "balanced"), ("precision", "bf16"), ("accumulate", 2), ("crop_size", 64),
                                         ("weights", "imagenet"), ("epochs", 2)])
def test_other_settings_are_refused_by_name(store, tmp_path, cli, name, value):
    with pytest.raises(KeyboardInterrupt): trained(store, tmp_path/"run", on_epoch=stop_after(1))
    before = files(tmp_path/"run")
    old = (CONFIG | dict(weights=None)).get(name, getattr(TrainConfig(), name))
    with pytest.raises(BadInput, match=rf"{name} {value}.*{name} {old}".replace("+", r"\+")): trained(store, tmp_path/"run", resume=True, **{name: value})
    one_line(cli("covid_train", store.path, tmp_path/"run", "--resume", f"--{name}", value), f"{name} {value}", f"{name} {old}")
    assert files(tmp_path/"run") == before


def test_settings_that_may_change(store, tmp_path):
    "Loader processes, and where the file of the first weights lies."
    (tmp_path/"a.pt").write_text("weights")
    with pytest.raises(KeyboardInterrupt): trained(store, tmp_path/"run", on_epoch=stop_after(1), weights=str(tmp_path/"a.pt"))
    assert len(trained(store, tmp_path/"run", resume=True, weights=str(tmp_path/"moved.pt"), workers=1)) == 3
    trained(store, tmp_path/"whole")
    same(tmp_path/"run", tmp_path/"whole")


# ---- more epochs

def test_more_epochs_for_a_finished_run(store, tmp_path, capsys):
    "A new one-cycle schedule, said in one line; interrupted and resumed, it is the same to the last bit."
    trained(store, tmp_path/"run")
    cut = Path(shutil.copytree(tmp_path/"run", tmp_path/"cut"))
    capsys.readouterr()
    history = trained(store, tmp_path/"run", resume=True, epochs=7)
    assert capsys.readouterr().out.count("\n") == 1 and history["epoch"].tolist() == list(range(1, 8))
    lr = history["lr"]
    assert lr[2] < 1e-3*lr.max() and lr[6] < 1e-3*lr.max() and lr[3:6].max() > .2*lr.max(), "it rises and falls twice"
    for n in (4, 6):
        with pytest.raises(KeyboardInterrupt): trained(store, cut, resume=True, epochs=7, on_epoch=stop_after(n))
    trained(store, cut, resume=True, epochs=7)
    same(tmp_path/"run", cut)
    assert load_config(cut).epochs == 7
    with pytest.raises(BadInput, match="epochs 5; expected epochs 7 or more"): trained(store, cut, resume=True, epochs=5)
    trained(store, cut, resume=True, epochs=8)
    assert len(state(cut)["history"]) == 8


def test_more_epochs_keep_the_best_of_all(store, tmp_path, scripted):
    scripted([3, 1, 2, 2, 2, .5])
    trained(store, tmp_path/"run")
    trained(store, tmp_path/"run", resume=True, epochs=5)
    assert load_model(tmp_path/"run")[1]["epoch"] == 2
    trained(store, tmp_path/"run", resume=True, epochs=6)
    assert load_model(tmp_path/"run")[1]["epoch"] == 6


def test_more_epochs_after_early_stopping(store, tmp_path, scripted):
    "Patience starts anew."
    scripted([1, 2, 2] + [2]*9)
    assert len(trained(store, tmp_path/"run", epochs=9, patience=2)) == 3
    with pytest.raises(BadInput, match="epochs 8.*epochs 9"): trained(store, tmp_path/"run", resume=True, epochs=8, patience=2)
    assert len(trained(store, tmp_path/"run", resume=True, epochs=12, patience=2)) == 5


def test_more_epochs_for_an_interrupted_run(store, tmp_path, capsys):
    "From where it stopped, with a new schedule for the rest."
    with pytest.raises(KeyboardInterrupt): trained(store, tmp_path/"run", on_epoch=stop_after(2))
    history = trained(store, tmp_path/"run", resume=True, epochs=5)
    assert "epochs 3 to 5: a new one-cycle schedule" in capsys.readouterr().out
    assert len(history) == 5 and history["lr"].iloc[-1] < 1e-3*history["lr"].max()


def test_more_epochs_by_command(store, tmp_path, cli, measured):
    trained(store, tmp_path/"run")
    status, out, _ = cli("covid_train", store.path, tmp_path/"run", "--resume")
    assert status == 0 and "finished" in out and "measured" in out and len(state(tmp_path/"run")["history"]) == 3
    status, out, err = cli("covid_train", store.path, tmp_path/"run", "--resume", "--epochs", 5)
    assert status == 0 and "epochs 4 to 5: a new one-cycle schedule" in out and "measured" in out and "finished" not in out, err
    one_line(cli("covid_train", store.path, tmp_path/"run", "--resume", "--epochs", 4), "epochs 4", "epochs 5 or more")
    status, out, err = cli("covid_train", store.path, tmp_path/"run", "--resume")
    assert status == 0 and load_config(tmp_path/"run").epochs == 5, err


# ---- one training at a time

def test_a_second_training_is_refused(store, tmp_path, cli, measured):
    "In one line that names the first; resume or not, command or library call; the first one's files stay as they are."
    run, refused = tmp_path/"run", []
    def second(row, config):
        before = files(run)
        for resume in (True, False):
            with pytest.raises(BadInput) as e: trained(store, run, resume=resume)
            refused.append(str(e.value))
        for option in ("--resume", "--force", "--seed=1"): refused.append(cli("covid_train", store.path, run, option)[2])
        assert files(run) == before
    trained(store, run, epochs=1, on_epoch=second)
    assert len(refused) == 5
    for line in refused: assert f"process {os.getpid()} on " in line and str(time.localtime().tm_year) in line and line.strip().count("\n") == 0
    assert not [name for name in files(run) if "lock" in name] and [p.name for p in tmp_path.iterdir()] == ["run"]
    assert len(trained(store, run, resume=True, epochs=2)) == 2


HOLD = """
import os, sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1] + "/.lock")
lock.acquire(timeout=0)
open(sys.argv[1] + "/.lock.txt", "w").write(f"process {os.getpid()} on there")
print("held", flush=True)
time.sleep(60)
"""      # as lock_run does, without torch


def test_a_lock_that_was_left(store, tmp_path, cli, measured):
    "A killed process's, or a copied one, does not count; Ctrl-C leaves none."
    (run := tmp_path/"run").mkdir()
    def hold():
        p = subprocess.Popen([sys.executable, "-c", HOLD, run], stdout=subprocess.PIPE, text=True)
        assert p.stdout.readline() == "held\n"
        return p
    p = hold()
    with pytest.raises(BadInput, match=f"process {p.pid} on "): trained(store, run)
    copied = Path(shutil.copytree(run, tmp_path/"copied"))          # as Kaggle's kernel copies an earlier run
    assert len(trained(store, copied, resume=True)) == 3
    p.kill(); p.wait()
    assert (run/".lock").exists()
    status, _, err = cli("covid_train", store.path, run, "--epochs", 1, "--size", 32)     # what is left is no run
    assert status == 0, err
    def ctrl_c(row, config): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): trained(store, tmp_path/"stopped", on_epoch=ctrl_c)
    assert sorted(files(run)) == sorted(files(tmp_path/"stopped")) == sorted(files(copied)) == ["best.safetensors", "config.json", "history.csv", "last.pt"]


def test_processes_of_a_launcher_share_the_lock(tmp_path, monkeypatch):
    with lock_run(tmp_path/"run"):
        monkeypatch.setattr(run_module, "_RANK", 1)
        with lock_run(tmp_path/"run"): pass
        monkeypatch.setattr(run_module, "_RANK", 0)
        assert (tmp_path/"run"/".lock").exists()
        with pytest.raises(BadInput), lock_run(tmp_path/"run"): pass
    assert not (tmp_path/"run").exists()


# ---- limits

def test_no_deadline(store, tmp_path):
    for deadline in (None, float("inf")):
        config = TrainConfig(**CONFIG)
        assert len(train_run(store, tmp_path/str(deadline), config, device="cpu", progress=False, on_epoch=None, deadline_s=deadline)) == 3
        assert len(train_parallel(store, tmp_path/f"p{deadline}", config, 1, device="cpu", progress=False, on_epoch=None, deadline_s=deadline)) == 3


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(store, tmp_path, cli, measured, monkeypatch, number):
    "What was saved is whole; the line says how to go on."
    run, write = tmp_path/"run", Path.write_bytes
    def full(path, data):
        if "last" in path.name and (run/"last.pt").exists():
            write(path, data[:100])
            raise OSError(number, os.strerror(number), str(path))
        return write(path, data)
    with monkeypatch.context() as m:
        m.setattr(Path, "write_bytes", full)
        one_line(cli("covid_train", store.path, run, "--epochs", 3, "--size", 32), "full disk", "--resume")
        with pytest.raises(BadInput, match="full disk.*--resume"): train_run(store, run, load_config(run), True, "cpu", False, None)
    assert len(state(run)["history"]) == 1 and not [n for n in files(run) if n.startswith(".")]
    load_model(run)
    assert cli("covid_train", store.path, run, "--resume")[0] == 0 and len(state(run)["history"]) == 3
    def no_room(*args): raise OSError(number, os.strerror(number), "metrics.json")
    monkeypatch.setattr("covid_nbdev.cli._print_results", no_room)
    one_line(cli("covid_train", store.path, run, "--resume"), "full disk", "--resume")
