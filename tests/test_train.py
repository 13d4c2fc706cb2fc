"""Training for real: killed and resumed, interrupted, both upsamplings; what it wrote is what one can measure again."""
import json, os, shutil, signal, subprocess, sys, time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from conftest import heeds_ctrl_c
from covid_nbdev.augment import dataloaders
from covid_nbdev.core import BadInput
from covid_nbdev.etl import Store, build_store, split
from covid_nbdev.evidence import lesion_detection
from covid_nbdev.metrics import ConfusionMatrix, hausdorff95, surface_dice
from covid_nbdev.report import write_results
from covid_nbdev.results import Predictor
from covid_nbdev.run import load_model, train_run
from covid_nbdev.train import HISTORY

BIN = Path(sys.executable).parent
RUN_FILES = ["best.safetensors", "config.json", "curves.png", "history.csv", "last.pt", "metrics.json", "model_card.md",
             "overlays.png", "submission.csv"]
SMALL = ["--epochs", "2", "--size", "64", "--batch_size", "4", "--encoder", "efficientnet-b0", "--lr", "0.003", "--loss", "ce+dice", "--seed", "1"]   # tiny_run's


def start(python, *args, **kwargs):
    return subprocess.Popen([python, BIN/"covid_train", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            preexec_fn=heeds_ctrl_c, **kwargs)


def weights(run): return torch.load(run/"last.pt", weights_only=True)["model"]


def same_run(a, b):
    "Equal weights, equal best model, equal history except the seconds."
    wa, wb = weights(a), weights(b)
    assert wa.keys() == wb.keys() and all(torch.equal(wa[k], wb[k]) for k in wa)
    assert all(torch.equal(x, y) for x, y in zip(load_model(a)[0].state_dict().values(), load_model(b)[0].state_dict().values()))
    ha, hb = (pd.read_csv(r/"history.csv").drop(columns="seconds") for r in (a, b))
    pd.testing.assert_frame_equal(ha, hb, check_exact=True)


def test_run_folder(tiny_run):
    assert sorted(p.name for p in tiny_run.iterdir()) == RUN_FILES
    history = pd.read_csv(tiny_run/"history.csv")
    assert list(history.columns) == HISTORY and history["epoch"].tolist() == [1, 2]
    m = json.loads((tiny_run/"metrics.json").read_text())
    assert {"n_train", "n_valid", "epoch", "train_size", "mask_size", "iou", "precision", "recall", "miou", "lesion_miou", "lesion_f1",
            "any_lesion_dice", "miou_per_image", "miou_by_batch", "ci95", "baseline", "lesion_miou_per_patient", "surface_dice", "hd95_px",
            "lesions", "paired", "ece", "ece_lesion"} == m.keys()
    assert set(m["lesions"]) == {"found", "missed", "false_per_slice"} and set(m["paired"]) == {"threshold"}
    assert set(m["baseline"]["threshold"]) == {"iou", "miou", "lesion_miou", "intervals_hu"} and set(m["miou_by_batch"]) == {"1", "8", "24"}
    assert set(m["ci95"]) == {"miou", "lesion_miou"}
    assert m["epoch"] == history["epoch"][history["valid_loss"].idxmin()]
    assert (m["n_train"], m["n_valid"], m["train_size"], m["mask_size"]) == (8 + 12, 4, 64, 64)
    assert "Not for diagnosis" in (tiny_run/"model_card.md").read_text()
    assert torch.load(tiny_run/"last.pt", weights_only=True)["history"][-1]["epoch"] == 2


def test_killed_and_resumed_equals_uninterrupted(tiny_run, store, tmp_path, cli, python):
    """kill -9 when the folder holds the settings alone; then once the first epoch is saved, somewhere in the second; then --resume.
    With two loader processes, which the training that nobody interrupted had not."""
    run = tmp_path/"killed"
    def kill(args, done):
        p = start(python, store.path, run, *args, start_new_session=True)
        while not done():
            assert p.poll() is None, "it ended before it could be killed"
            time.sleep(.01)
        os.killpg(p.pid, signal.SIGKILL)
        p.communicate()
    kill([*SMALL, "--workers", 2], (run/"config.json").is_file)
    assert not (run/"last.pt").exists()
    kill(["--resume"], (run/"history.csv").is_file)
    assert len(pd.read_csv(run/"history.csv")) == 1 and not (run/"metrics.json").exists()
    status, _, err = cli("covid_train", store.path, run, "--resume")
    assert status == 0, err
    same_run(run, tiny_run)
    m = [json.loads((r/"metrics.json").read_text()) for r in (run, tiny_run)]
    assert m[0] == m[1]


def test_ctrl_c(store, tmp_path, python):
    run = tmp_path/"stopped"
    p = start(python, store.path, run, *SMALL[2:], "--epochs", "50", "--size", "32")
    while not (run/"last.pt").is_file(): time.sleep(.05)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=200)
    assert p.returncode == 130 and "Traceback" not in err
    assert f"covid_train {store.path} {run} --resume" in err.strip().split("\n")[-1]
    torch.load(run/"last.pt", weights_only=True)


def test_labels_of_covid_predict_give_metrics_json(tiny_run, store, layout, tmp_path, cli):
    status, out, err = cli("covid_predict", tiny_run, layout/"images_medseg.npy", tmp_path/"out")
    assert status == 0, err
    pred = np.load(tmp_path/"out"/"labels.npy")
    valid = split(store).valid
    assert pred.dtype == np.uint8 and pred.shape == (16, 64, 64)
    cm = ConfusionMatrix().update(pred[store.index["number"].iloc[valid]], store.labels[valid])
    m = json.loads((tiny_run/"metrics.json").read_text())
    assert [v for v in m["iou"].values()] == cm.iou().tolist() and m["miou"] == cm.miou()
    found, true = pred[store.index["number"].iloc[valid]] < 2, store.labels[valid] < 2
    pairs = [(p, t) for p, t in zip(found, true) if t.any()]
    far = np.median([hausdorff95(p, t) for p, t in pairs])
    assert m["surface_dice"] == np.mean([surface_dice(p, t) for p, t in pairs]) and m["hd95_px"] == (far if np.isfinite(far) else None)
    areas = np.sum([lesion_detection(np.where(p, 0, 3), np.where(t, 0, 3)) for p, t in zip(found, true)], 0)
    assert [m["lesions"]["found"], m["lesions"]["missed"], m["lesions"]["false_per_slice"]*len(true)] == areas.tolist()
    assert len(list((tmp_path/"out").glob("*.png"))) == 16
    extent = pd.read_csv(tmp_path/"out"/"extent.csv")
    assert list(extent.columns) == ["slice", "lung_px", "ground_glass_px", "consolidation_px", "ground_glass_percent", "consolidation_percent"]
    assert extent["slice"].tolist() == [str(i) for i in range(16)] + ["all"]
    assert extent["ground_glass_px"].iloc[-1] == (pred == 0).sum()


def test_asked_twice(tiny_run, layout, tmp_path, cli):
    "--tta averages with the mirrored slice: a mirrored input gives the mirrored labels, and other labels than without."
    images = np.load(layout/"images_medseg.npy")[:5]
    np.save(tmp_path/"five.npy", images)
    for name, slices in (("as_it_is", images), ("mirrored", np.ascontiguousarray(images[:, :, ::-1]))):
        np.save(tmp_path/f"{name}.npy", slices)
        status, _, err = cli("covid_predict", tiny_run, tmp_path/f"{name}.npy", tmp_path/name, "--tta")
        assert status == 0, err
    a, b = (np.load(tmp_path/name/"labels.npy") for name in ("as_it_is", "mirrored"))
    assert (a == b[:, :, ::-1]).mean() > .999          # ties at float precision may fall either way
    assert cli("covid_predict", tiny_run, tmp_path/"five.npy", tmp_path/"once")[0] == 0
    assert (a != np.load(tmp_path/"once"/"labels.npy")).any()


def test_a_run_that_always_asks_twice(tiny_run, store, tmp_path, cli):
    "Its model says so: what is predicted and measured later is averaged, too, unless one says otherwise."
    run = shutil.copytree(tiny_run, tmp_path/"run")
    with safe_open(tiny_run/"best.safetensors", "pt") as f: about = json.loads(f.metadata()["covid_nbdev"])
    assert about["tta"] is False and Predictor(tiny_run).tta is False and Predictor(tiny_run, tta=True).tta is True
    save_file(load_file(tiny_run/"best.safetensors"), run/"best.safetensors", {"covid_nbdev": json.dumps(about | {"tta": True})})
    assert Predictor(run).tta is True and Predictor(run, tta=False).tta is False
    hu = np.array(store.images[split(store).valid[0]])
    assert torch.equal(Predictor(run).logits(hu), Predictor(tiny_run, tta=True).logits(hu))
    metrics = write_results(run, store, progress=False)
    valid = [np.array(store.images[r]) for r in split(store).valid]
    np.save(tmp_path/"valid.npy", np.stack(valid))
    assert cli("covid_predict", run, tmp_path/"valid.npy", tmp_path/"out")[0] == 0
    found = np.load(tmp_path/"out"/"labels.npy")
    assert metrics["miou"] == pytest.approx(ConfusionMatrix().update(found, np.stack([store.labels[r] for r in split(store).valid])).miou())
    del about["tta"]        # as older versions wrote it
    save_file(load_file(tiny_run/"best.safetensors"), run/"best.safetensors", {"covid_nbdev": json.dumps(about)})
    assert Predictor(run).tta is False


def test_submission(tiny_run, store, layout, tmp_path, cli):
    "From Kaggle's files, from the store, and as the training wrote it: the same bytes; equal to the plain way."
    for data, name in ((layout, "a.csv"), (store.path, "b.csv")):
        assert cli("covid_submission", tiny_run, data, tmp_path/name)[0] == 0
    assert (tmp_path/"a.csv").read_bytes() == (tmp_path/"b.csv").read_bytes() == (tiny_run/"submission.csv").read_bytes()
    predictor = Predictor(tiny_run)
    labels = np.stack([predictor(store.images[r]) for r in split(store).test])
    plain = np.stack([labels == 0, labels == 1], -1).astype(int).ravel()
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path/"a.csv"), pd.DataFrame({"Id": np.arange(len(plain)), "Predicted": plain}))


def test_nearest_from_kaggles_files_without_radiopaedia(copy_layout, tmp_path, cli):
    for f in ("images_radiopedia.npy", "masks_radiopedia.npy"): (copy_layout/f).unlink()
    small = [*SMALL[2:], "--epochs", 1, "--size", 32, "--upsample", "nearest"]
    status, out, err = cli("covid_train", copy_layout, tmp_path/"run", *small)
    assert status == 0, err
    assert "MedSeg alone" in out
    assert not any(".up." in k for k in load_model(tmp_path/"run")[0].state_dict())
    assert len(Store(tmp_path/"run"/"store")) == 18
    status, _, err = cli("covid_train", copy_layout, tmp_path/"run", "--resume", "--upsample", "transpose")
    assert status == 2 and "upsample nearest" in err      # given now, and not what the run was started with
    status, _, err = cli("covid_train", copy_layout, tmp_path/"run", "--resume", "--lr", "0.5")
    assert status == 2 and "lr 0.003" in err


def test_resume_deletes_nothing_of_the_users(tiny_run, store, tmp_path, cli):
    run = Path(shutil.copytree(tiny_run, tmp_path/"run"))
    (run/".pre-commit-config.yaml").write_text("mine"); (run/".last-123.pt").write_text("half"); (run/".a-b.c").mkdir()
    status, _, err = cli("covid_train", store.path, run, "--resume")
    assert status == 0, err
    assert (run/".pre-commit-config.yaml").read_text() == "mine" and (run/".a-b.c").is_dir() and not (run/".last-123.pt").exists()


def test_weights_file_is_not_needed_to_resume(tiny_run, store, tmp_path, cli, monkeypatch):
    monkeypatch.setattr("covid_nbdev.cli._print_results", lambda *args: None)      # not looked at here
    shutil.copy(tiny_run/"best.safetensors", tmp_path/"start.safetensors")
    small = [*SMALL[2:], "--epochs", 1, "--size", 32, "--weights", tmp_path/"start.safetensors"]
    assert cli("covid_train", store.path, tmp_path/"run", *small)[0] == 0
    (tmp_path/"start.safetensors").unlink()
    status, _, err = cli("covid_train", store.path, tmp_path/"run", "--resume")
    assert status == 0, err


def test_recorded_learning_rate_falls_to_nothing(tiny_run):
    lr = pd.read_csv(tiny_run/"history.csv")["lr"]
    assert lr.iloc[-1] < 1e-3*lr.max()


def test_resume_with_other_data_is_refused(tiny_run, copy_layout, tmp_path, cli):
    for stem in ("images_medseg", "masks_medseg"): np.save(copy_layout/f"{stem}.npy", np.load(copy_layout/f"{stem}.npy")[:8])
    (copy_layout/"patients.csv").unlink()
    build_store(copy_layout, tmp_path/"other")
    status, _, err = cli("covid_train", tmp_path/"other", tiny_run, "--resume")
    assert status == 2 and "other data" in err


def test_early_stopping(store, monkeypatch):
    "Validation that never gets better stops the training after `patience` epochs; the best model is the first."
    import covid_nbdev.train as t
    losses = iter([1., 2., 2., 2., 2.])
    def learn_nothing(learn):
        with torch.no_grad(): learn.model.bias += 1
        return {"train_loss": 1., "train_miou": .1, "lr": 1e-3}
    monkeypatch.setattr(t, "train_epoch", learn_nothing)
    monkeypatch.setattr(t, "valid_epoch", lambda learn: {"valid_loss": next(losses), "valid_miou": .1})
    model = torch.nn.Conv2d(1, 4, 1)
    torch.nn.init.zeros_(model.bias)
    history = t.fit(model, dataloaders(store, 64), t.TrainConfig(epochs=6, patience=2))
    assert len(history) == 3 and (model.bias == 1).all(), "stopped after the third, with the first epoch's weights"


def test_a_loss_that_is_never_finite(store, tmp_path, monkeypatch):
    import covid_nbdev.train as t
    monkeypatch.setattr(t, "valid_epoch", lambda learn: {"valid_loss": np.nan, "valid_miou": .1})
    monkeypatch.setattr(t, "train_epoch", lambda learn: {"train_loss": 1., "train_miou": .1, "lr": 1e-3})
    config = t.TrainConfig(epochs=2, size=64, encoder="efficientnet-b0")
    with pytest.raises(BadInput, match="no finite validation loss"):
        train_run(store, tmp_path/"run", config, progress=False, on_epoch=None)
    assert len(pd.read_csv(tmp_path/"run"/"history.csv")) == 2 and not (tmp_path/"run"/"best.safetensors").exists()
