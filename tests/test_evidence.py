"""Intervals and paired differences, against SciPy and by hand; benchmarks/transfer.py goes on where it was stopped."""
import subprocess, sys

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from conftest import ROOT
from covid_nbdev.core import BadInput
from covid_nbdev.evidence import bootstrap_interval, paired_difference, lesion_detection, reliability
from covid_nbdev.metrics import confusion

sys.path.insert(0, str(ROOT/"benchmarks"))
import calibration, kernel_recipe


def test_interval_by_patient_is_wider_than_by_slice():
    rng = np.random.default_rng(0)
    matrices = np.repeat(rng.integers(1, 50, (12, 4, 4)), 4, axis=0)         # four equal slices a patient
    by_slice, by_patient = bootstrap_interval(matrices), bootstrap_interval(matrices, groups=np.repeat(np.arange(12), 4))
    assert by_slice[1] - by_slice[0] < by_patient[1] - by_patient[0]


def mean_difference(a, b, axis): return np.mean(a - b, axis=axis)


@pytest.mark.parametrize("n", [2, 5, 10, 13])
def test_all_choices_of_signs_as_scipy(n):
    a, b = np.random.default_rng(n).normal(.3, 1, (2, n)) + [[.4], [0]]
    exact = stats.permutation_test((a, b), mean_difference, permutation_type="samples", n_resamples=np.inf, vectorized=True)
    found = paired_difference(a, b)
    assert found.p == pytest.approx(exact.pvalue) and found.difference == pytest.approx((a - b).mean())


@pytest.mark.parametrize("shift", [0, .1, .25])
def test_many_patients_as_scipy(shift):
    "Random draws: p and the interval's ends within what ten thousand draws leave open."
    a, b = np.random.default_rng(3).normal(0, 1, (2, 80))
    a += b + shift                                     # what is common to both drops out
    found = paired_difference(a, b)
    chance = stats.permutation_test((a, b), mean_difference, permutation_type="samples", n_resamples=20_000, vectorized=True, random_state=1)
    assert found.p == pytest.approx(chance.pvalue, abs=.02)
    ends = stats.bootstrap((a - b,), np.mean, method="percentile", n_resamples=20_000, random_state=1).confidence_interval
    assert found.ci95 == pytest.approx(tuple(ends), abs=.012)
    assert paired_difference(b, a).p == pytest.approx(found.p, abs=.02) and paired_difference(b, a).difference == -found.difference


def test_patients_are_drawn_and_turned_as_a_whole():
    "Copies of slices change nothing when they belong to their patient; a patient's weight is the number of its slices."
    a, b = np.random.default_rng(0).normal(.5, 1, (2, 8))
    once, copies = paired_difference(a, b), paired_difference(np.repeat(a, 3), np.repeat(b, 3), np.repeat(list("hgfedcba"), 3))
    assert copies.p == once.p and copies.difference == pytest.approx(once.difference)
    uneven = paired_difference([1., 1, 1, 0], [0., 0, 0, 0], ["x", "x", "x", "y"])
    assert uneven.difference == .75 and uneven.ci95 == (0, 1) and uneven.p == 1     # y turns for nothing: all 4 are as far


def test_slices_without_both_scores_are_left_out():
    a, b = [.3, np.nan, .5, .4], [.1, .2, np.nan, .1]
    assert paired_difference(a, b, ["x", "x", "y", "z"]) == paired_difference([.3, .4], [.1, .1])
    difference, ci95, p = paired_difference([.5, .5], [.5, .5])
    assert (difference, ci95, p) == (0, (0, 0), 1)


@pytest.mark.parametrize("a, b, groups, says", [([1, 2], [1], None, "scores"), ([[1, 2]], [[1, 2]], None, "scores"), ([1, np.inf], [1, 1], None, "infinite"),
                                                ([1, 2], [0, 0], ["x", "x"], "with both scores: 1"), ([np.nan, 1], [0, 0], None, "with both scores: 1"),
                                                ([1, 2], [0, 0], ["x"], "groups")])
def test_what_cannot_be_compared(a, b, groups, says):
    with pytest.raises(BadInput, match=says): paired_difference(a, b, groups)


def test_false_alarms_are_as_rare_as_p_says():
    "Two equal methods, ten slices a patient that resemble one another: by patient p < 0.05 in about 1 of 20; by slice far more often."
    rng, patient = np.random.default_rng(0), np.repeat(np.arange(12), 10)
    alarms = np.zeros(2)
    for _ in range(200):
        difference = rng.normal(0, 1, 12)[patient] + rng.normal(0, .5, 120)
        alarms += [paired_difference(difference, np.zeros(120), g, n_draws=500).p < .05 for g in (patient, None)]
    assert alarms[0] <= 20 and alarms[1] > 60


# ---- benchmarks/transfer.py, on computed slices in the place of real ones

TINY = "n_radiopaedia=0 phantom.n_medseg=8 phantom.n_test=1 phantom.size=64 size=32 encoder=efficientnet-b0 batch_size=4 epochs=1".split()


@pytest.fixture
def like_real(copy_layout):
    "MedSeg's part alone, of 34 computed slices: the 16 there are, mirrored, and two of them upside down."
    for name in ("images_medseg.npy", "masks_medseg.npy"):
        there = np.load(copy_layout/name)
        np.save(copy_layout/name, np.concatenate([there, there[:, :, ::-1], there[:2, ::-1]]))
    for name in ("images_radiopedia.npy", "masks_radiopedia.npy", "patients.csv"): (copy_layout/name).unlink()
    return copy_layout


@pytest.mark.slow
def test_transfer_goes_on_where_it_was_stopped(like_real, tmp_path, python):
    "Rows that were measured are not trained again; each look at the first 24 slices is noted; develop never needs one."
    tiny = [f"phantom.{TINY[0]}", *TINY[1:]]      # four keys of the patients, four of the training
    def run(*more):
        command = [python, ROOT/"benchmarks"/"transfer.py", like_real, "--out", tmp_path/"t.csv", "--work", tmp_path/"work", "--seeds", "0",
                   "--threads", "1", "--demo", *tiny, "--first", *tiny, "copies=1", "--real", *TINY[4:], "--folds", "2", *more]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
    log = tmp_path/"t.readings.log"
    assert "| phantom-1x | 0 |" in run("--rows", "phantom-1x", "phantom-real") and not log.exists()
    assert "----" not in run("--rows", "phantom-1x", "phantom-real").replace("|---", "")
    out = run("--rows", "phantom-1x", "real", "--score", "test")
    assert "reading number 1" in out and len(log.read_text().splitlines()) == 1
    table = pd.read_csv(tmp_path/"t.csv")
    assert table[["row", "score", "slices"]].to_numpy().tolist() == [["phantom-1x", "develop", 10], ["phantom-real", "develop", 10],
                                                                     ["phantom-1x", "test", 24], ["real", "test", 24]]


# ---- benchmarks/kernel_recipe.py

def test_flat_f1_equal_to_torchmetrics():
    "Both lesions' masks as one long row of pixels; and the mean of the two lesions' own."
    import torch
    from torchmetrics.functional.classification import binary_f1_score, multiclass_f1_score
    true, found = np.random.default_rng(0).integers(0, 4, (2, 500))
    flat = [torch.from_numpy(np.concatenate([labels == c for c in (0, 1)]).astype(int)) for labels in (found, true)]
    assert kernel_recipe.flat_f1(confusion(found, true)) == pytest.approx(binary_f1_score(*flat).item())
    each = multiclass_f1_score(torch.from_numpy(found), torch.from_numpy(true), num_classes=4, average="none")
    assert kernel_recipe.mean_f1(confusion(found, true)) == pytest.approx(each[:2].mean().item())


def test_kernel_recipes_are_compared(like_real, tmp_path, monkeypatch, capsys):
    "Each slice from the 25th on is predicted once in each row; what is measured is not measured again."
    def call():
        monkeypatch.setattr(sys, "argv", ["kernel_recipe.py", str(like_real), "--out", str(tmp_path/"out"), "--rows", "none-ce-32", "none-ce+dice-32",
                                          "--seeds", "0", "--folds", "2", "--change", '{"epochs": 1, "encoder": "efficientnet-b0"}'])
        kernel_recipe.main()
        return " ".join(capsys.readouterr().out.split())
    first = call()
    assert first.count("minutes, lesion mIoU") == 4 and "none-ce+dice-32 once − none-ce-32 once 10 slices:" in first and "none-ce-32 flip − none-ce-32 once" in first
    monkeypatch.setattr(kernel_recipe, "trained", None)
    assert first.endswith(call())
    for row in ("none-ce-32", "none-ce+dice-32"):
        assert sorted(np.concatenate([np.load(f)["rows"] for f in (tmp_path/"out").glob(f"{row}-0-*.npz")])) == list(range(10))


def test_calibration_equal_to_torchmetrics():
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error
    rng = np.random.default_rng(0)
    for n in range(20):
        probability, true = torch.tensor(rng.dirichlet([.5]*4, 500)).float(), torch.tensor(rng.integers(0, 4, 500))
        top = probability.max(1)
        ours = reliability(top.values.numpy(), (top.indices == true).numpy(), bins=5 + n).ece
        assert abs(ours - multiclass_calibration_error(probability, true, 4, n_bins=5 + n, norm="l1").item()) < 1e-4
    for wrong in (([], []), ([.5], [True, False]), ([1.2], [True]), ([np.nan], [True])):
        with pytest.raises(BadInput): reliability(*wrong)


def test_areas_by_hand():
    "Corners join; classes don't part an area; the share decides; an area that touches a true pixel is not false."
    none = np.full((8, 8), 3)
    one = none.copy(); one[1, 1], one[2, 2], one[2, 3] = 0, 1, 0
    corner = none.copy(); corner[2, 2] = 0
    assert lesion_detection(one, one) == (1, 0, 0) and lesion_detection(none, one) == (0, 1, 0) and lesion_detection(one, none) == (0, 0, 1)
    assert lesion_detection(corner, one) == (1, 0, 0) and lesion_detection(corner, one, min_overlap=.34) == (0, 1, 0)
    both = one.copy(); both[6, 6] = 1
    assert lesion_detection(one, both) == (1, 1, 0) and lesion_detection(both, one) == (1, 0, 1)
    large = np.full((8, 8), 0)
    assert lesion_detection(large, both) == (2, 0, 0)
    for bad in (0, 1.5):
        with pytest.raises(BadInput): lesion_detection(one, one, min_overlap=bad)


# ---- benchmarks/calibration.py and its table

def table(): return pd.read_csv(ROOT/"covid_nbdev"/"tables"/"calibration.csv", comment="#")


def test_calibration_table_is_complete_and_agrees_with_itself():
    rows = table()
    assert {*zip(rows.weights, rows.seed)} == {(name, seed) for name in ("none", "balanced", "balanced, undone") for seed in range(3)}
    pixels, promised, kept = (rows.filter(regex=f"^{what}_").to_numpy() for what in ("pixels", "promised", "kept"))
    share = pixels/pixels.sum(1, keepdims=True)
    gap = np.nansum(share*np.abs(promised - kept), axis=1)
    assert gap == pytest.approx(rows.ece_lesion.to_numpy(), abs=2e-4)
    assert np.nansum(share*kept, axis=1) == pytest.approx(rows.accuracy.to_numpy(), abs=2e-4)
    assert rows[["ground_glass", "consolidation"]].mean(axis=1).to_numpy() == pytest.approx(rows.lesion_miou.to_numpy(), abs=2e-4)


def test_weights_are_undone():
    "A promise of w·p, made to add up to 1, gives p again when the logarithm of w is taken from the logit."
    import torch
    p, w = torch.tensor([.1, .2, .3, .4]), torch.tensor([6., 3., 1., .5])
    weighted = w*p/(w*p).sum()
    assert (weighted.log() + 3 - w.log()).softmax(0).tolist() == pytest.approx(p.tolist(), abs=1e-6)


@pytest.mark.table
def test_one_calibration_again():
    "Seed 0 with weights: about as the table says. (Another processor takes another path.)"
    (images, truth), fresh = (calibration.as_tensors(calibration.patients(seeds, calibration.SIDE)) for seeds in (calibration.TRAIN, calibration.FRESH))
    weight = calibration.balanced_weights(np.bincount(truth.ravel(), minlength=4))
    network, _ = calibration.train(calibration.UNet, 0, images, truth, weight)
    found = calibration.judge(calibration.logits_of(network, fresh[0]), fresh[1])
    shipped = table().query("weights == 'balanced' and seed == 0").iloc[0]
    for name in ("lesion_miou", "ece_lesion", "accuracy"): assert found[name] == pytest.approx(shipped[name], abs=.05), name


def test_lesson_17_says_what_transfer_measured():
    "The table of computed to real slices, as the script wrote it."
    text = (ROOT/"nbs"/"17_evidence.ipynb").read_text(encoding="utf-8")
    table = pd.read_csv(ROOT/"covid_nbdev"/"tables"/"transfer.csv", comment="#", index_col="row")
    for row in ("thresholds", "phantom-1x", "real", "phantom-real"):
        line = table.loc[row]
        seeds = "" if row == "thresholds" else f"{line.lesion_miou_of_seeds} "
        assert f"| {line.lesion_miou:.3f} | {line.lesion_miou_low:.3f} to {line.lesion_miou_high:.3f} | {seeds}|" in text, row
