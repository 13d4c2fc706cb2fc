"""The demo: the whole way on few patients here; with all its patients and epochs, and what it must reach then, in make test-slow."""
import json, shutil
from pathlib import Path

import pandas as pd
import pytest

import covid_nbdev.cli as c
from conftest import note
from covid_nbdev.etl import Store

FEW = dict(phantom=dict(n_radiopaedia=8, n_medseg=16, n_test=1, size=128), train=dict(epochs=2))


@pytest.mark.parametrize("less", [FEW, pytest.param({}, marks=pytest.mark.table)], ids=["few", "all"])
def test_demo(tmp_path, cli, monkeypatch, less):
    for part, settings in less.items(): monkeypatch.setitem(c._DEMO, part, c._DEMO[part] | settings)
    monkeypatch.chdir(tmp_path)
    demo = Path("runs/demo")
    status, out, err = cli("covid_demo")
    assert status == 0, err
    m, history = json.loads((demo/"metrics.json").read_text()), pd.read_csv(demo/"history.csv")
    simple = m["baseline"]["threshold"]
    note(f"demo: lesion mIoU {m['lesion_miou']:.3f} (95 % {m['ci95']['lesion_miou']}), thresholds {simple['lesion_miou']:.3f}, "
         f"lungs {m['iou']['lungs_other']:.3f}; {history['seconds'].sum():.0f} s of training")
    assert .12 <= simple["lesion_miou"] <= .40
    if less: assert history["train_loss"].iloc[-1] < .8*history["train_loss"].iloc[0]
    else: assert m["lesion_miou"] >= simple["lesion_miou"] + .06 and m["iou"]["lungs_other"] >= .8
    for name in ("overlays.png", "curves.png", "model_card.md", "submission.csv"):
        assert (demo/name).stat().st_size > 1000 and str(demo/name) in out
    assert "lesion mIoU" in out and "Not for diagnosis" in out
    assert [p.name for p in Path("runs").iterdir()] == ["demo"]


@pytest.fixture
def quick(monkeypatch, layout, tiny_run):
    "A demo whose patients and training are copies of some that were computed."
    import covid_nbdev.run
    monkeypatch.setattr(c, "write_phantom_dataset", lambda folder, **how: shutil.copytree(layout, folder))
    monkeypatch.setattr(covid_nbdev.run, "train_run", lambda store, run, config: shutil.copytree(tiny_run, run, dirs_exist_ok=True))


@pytest.fixture
def instant(quick, monkeypatch, tiny_run):
    "Its results, too, are the copy of some that were measured. It leaves the store open, in a circle, as loaders and callbacks do."
    import covid_nbdev.report
    def write_results(run, store):
        circle = [store.images, Store(store.path)]
        circle.append(circle)
        return json.loads((tiny_run/"metrics.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(covid_nbdev.report, "write_results", write_results)


def test_a_demo_that_fails_keeps_the_last_one(quick, tmp_path, cli, monkeypatch):
    import covid_nbdev.report
    old = tmp_path/"demo"; old.mkdir()
    (old/c._MARK).write_text("x"); (old/"metrics.json").write_text("the last result")
    def stopped(*a, **k): raise KeyboardInterrupt
    with monkeypatch.context() as m:
        m.setattr(covid_nbdev.report, "write_results", stopped)
        assert cli("covid_demo", "--run", old)[0] == 130
    assert (old/"metrics.json").read_text() == "the last result" and [p.name for p in tmp_path.iterdir()] == ["demo"]
    assert cli("covid_demo", "--run", old)[0] == 0
    assert (old/"metrics.json").read_text().startswith("{") and [p.name for p in tmp_path.iterdir()] == ["demo"]


def test_hidden_folders_of_others_are_kept(instant, tmp_path, cli):
    (tmp_path/".demo.old").mkdir(); (tmp_path/".demo.old"/"thesis.txt").write_text("years of work")
    (tmp_path/"demo").mkdir()
    assert cli("covid_demo", "--run", tmp_path/"demo")[0] == 0
    assert (tmp_path/".demo.old"/"thesis.txt").read_text() == "years of work"
    (tmp_path/".demo.new").mkdir(); (tmp_path/".demo.new"/"notes.txt").write_text("mine")
    before = (tmp_path/"demo"/"history.csv").read_text()
    status, _, err = cli("covid_demo", "--run", tmp_path/"demo")
    assert status == 2 and ".demo.new" in err
    assert (tmp_path/".demo.new"/"notes.txt").read_text() == "mine" and (tmp_path/"demo"/"history.csv").read_text() == before
