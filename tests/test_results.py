"""Cleaning of small islands: its properties on random masks, and as an option of the predictor. metrics.json is explained."""
import ast, json, re, shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from scipy import ndimage

import lessons
from conftest import ROOT
from covid_nbdev.core import BadInput
from covid_nbdev.etl import split, Store
from covid_nbdev.extent import agreement
from covid_nbdev.metrics import ConfusionMatrix
from covid_nbdev.report import model_card, write_results
from covid_nbdev.phantom import make_slice
from covid_nbdev.results import TELLING_TITLES, evaluate, plot_overlays, Predictor, remove_small, telling_slices, ThresholdBaseline
from covid_nbdev.run import load_config

TOUCHING = np.ones((3, 3))


def mask(seed, height, width, lesion):
    "Random labels in which about the share `lesion` of the pixels is lesion."
    rng = np.random.default_rng(seed)
    p = np.array([lesion/2, lesion/2, (1 - lesion)/2, (1 - lesion)/2])
    return rng.choice(4, (height, width), p=p).astype(np.uint8)


cases = given(st.integers(0, 2**32 - 1), st.integers(1, 14), st.integers(1, 14), st.floats(0, 1))


@settings(max_examples=500, deadline=None)
@cases
def test_never_adds_lesion_and_leaves_the_rest(seed, height, width, lesion):
    labels = mask(seed, height, width, lesion)
    before = labels.copy()
    for min_px in (0, 1, 2, 5, 200):
        after = remove_small(labels, min_px)
        assert after.dtype == np.uint8 and after.shape == labels.shape
        np.testing.assert_array_equal(labels, before)                               # a copy comes back
        np.testing.assert_array_equal(after[labels >= 2], labels[labels >= 2])      # lung and background stay
        kept = after < 2
        np.testing.assert_array_equal(after[kept], labels[kept])                    # a kept lesion keeps its class
        np.testing.assert_array_equal(remove_small(after, min_px), after)           # once is enough
        if min_px < 2: np.testing.assert_array_equal(after, labels)


@settings(max_examples=300, deadline=None)
@cases
def test_exactly_the_small_areas_go(seed, height, width, lesion):
    "Area by area, the plain way: what goes, and what it becomes."
    labels = mask(seed, height, width, lesion)
    area, n = ndimage.label(labels < 2, TOUCHING)
    for min_px in (2, 4, 9):
        expected = labels.copy()
        for k in range(1, n + 1):
            here = area == k
            around = ndimage.binary_dilation(here, TOUCHING) & ~here
            if here.sum() < min_px: expected[here] = 2 if (labels[around] == 2).any() else 3
        np.testing.assert_array_equal(remove_small(labels, min_px), expected)


@settings(max_examples=200, deadline=None)
@cases
def test_has_no_side_and_more_removes_more(seed, height, width, lesion):
    labels = mask(seed, height, width, lesion)
    after = remove_small(labels, 4)
    for turned in (lambda a: a[::-1], lambda a: a[:, ::-1], np.transpose, np.rot90):
        np.testing.assert_array_equal(remove_small(turned(labels), 4), turned(after))
    assert not ((remove_small(labels, 6) < 2) & (after >= 2)).any()


@pytest.mark.parametrize("wrong", [-1, 2.5])
def test_wrong_sizes_are_refused(wrong):
    with pytest.raises(BadInput, match="whole number of pixels"): remove_small(np.zeros((4, 4), np.uint8), wrong)
    with pytest.raises(BadInput, match="whole number of pixels"): Predictor("no run is read before that", min_px=wrong)
    with pytest.raises(BadInput, match="slice by slice"): remove_small(np.zeros((2, 4, 4), np.uint8), 4)


def test_predictor_cleans_if_asked(tiny_run, store):
    "Off by default; on, it is remove_small of the same labels."
    plain, cleaned = Predictor(tiny_run), Predictor(tiny_run, min_px=30)
    some = store.images[8:16]
    labels = [plain(hu) for hu in some]
    expected = [remove_small(p, 30) for p in labels]
    assert any((a != b).any() for a, b in zip(labels, expected)), "nothing to clean: the test would show nothing"
    for hu, p, e in zip(some, labels, expected):
        np.testing.assert_array_equal(p, plain.logits(hu).argmax(0).cpu().numpy())
        np.testing.assert_array_equal(cleaned(hu), e)


def test_slices_are_ranked_by_lesion_iou():
    true = np.full((5, 4, 4), 3)
    true[:4, 0] = 0                                       # four lesion pixels in all but the last slice
    pred = true.copy()
    pred[0, 0, :3], pred[1, 0, :2], pred[3, 0, 1:] = 3, 3, 3      # found: 1, 2, 4 and 1 of 4
    pred[3, 1] = 1                                                # and four more that are not there
    assert telling_slices(pred, true) == [2, 0, 3]                # IoU 1/4, 2/4, 4/4, 1/8
    assert telling_slices(pred[4:], true[4:]) == []
    as_other_lesion = true.copy()
    as_other_lesion[0, 0] = 1                                     # any lesion counts: the class does not matter here
    assert telling_slices(as_other_lesion[:1], true[:1]) == [0]


@pytest.mark.parametrize("lesions, titles", [(0, ["no lesion"]), (1, ["the only one"]), (2, ["best", "worst"]),
                                             (3, ["best", "median", "worst"]), (7, ["best", "median", "worst"])])
def test_titles_of_few_slices(lesions, titles):
    "Of two slices the second is the worst, not the median; with one there is nothing to compare."
    import matplotlib.pyplot as plt
    true = np.full((8, 4, 4), 3)
    true[:lesions, :, 0] = 0
    pred = true.copy()
    for i in range(lesions): pred[i, i % 4, 0] = 3 if i else 0
    chosen = telling_slices(pred, true)
    assert len(chosen) == min(lesions, 3) and TELLING_TITLES[len(chosen)] == titles
    shown = [chosen or [0]]*3
    fig = plot_overlays(*([part[i] for i in numbers] for part, numbers in zip((true*0 - 800, pred, true), shown)), TELLING_TITLES[len(chosen)])
    assert [ax.get_title().split(": ")[0] for ax in fig.axes[:len(titles)]] == titles
    plt.close(fig)


class Oblong(Store):
    "As if its slices had been 48 rows high when they came."
    def __init__(self, path):
        super().__init__(path)
        self.inside = slice(8, 56), slice(0, 64)


def test_the_rim_of_filled_up_slices_is_not_measured(store, tiny_run, tmp_path):
    "Scores and submission are those of the slices as they came."
    oblong, predictor = Oblong(store.path), Predictor(tiny_run)
    metrics, preds = evaluate(predictor, oblong, progress=False)
    cm = ConfusionMatrix()
    for row, pred in zip(split(store).valid, preds):
        np.testing.assert_array_equal(pred, predictor(store.images[row])[8:56])
        cm.update(pred, store.labels[row][8:56])
    assert list(metrics["iou"].values()) == cm.iou().tolist() and cm.counts.sum() == len(preds)*48*64
    assert metrics["mask_size"] == 64 and metrics["baseline"] != evaluate(predictor, store, progress=False)[0]["baseline"]
    run = shutil.copytree(tiny_run, tmp_path/"run")
    written = write_results(run, oblong, progress=False)
    assert {k: written[k] for k in metrics} == metrics and written["ci95"]["miou"][0] <= metrics["miou"]
    lines = (run/"submission.csv").read_text().splitlines()
    expected = np.stack([[predictor(store.images[r])[8:56] == c for c in (0, 1)] for r in split(store).test]).transpose(0, 2, 3, 1)
    assert lines[1:] == [f"{i},{v}" for i, v in enumerate(expected.astype(int).ravel())]


def test_the_card_says_what_chose_the_epoch(tiny_run):
    metrics, config = json.loads((tiny_run/"metrics.json").read_text()), vars(load_config(tiny_run))
    without = {k: v for k, v in config.items() if k != "best"}
    for settings, words in ((without, "lowest loss"), (config | {"best": "valid_loss"}, "lowest loss"), (config | {"best": "lesion_miou"}, "highest lesion mIoU")):
        assert f"that with the {words} on the validation slices" in model_card(settings, metrics, {"medseg": 16})
        assert "These slices also chose the training's epoch" in model_card(settings, metrics, {"medseg": 16})
    last = model_card(config | dict(best="last", crop_size=32, tta=True), metrics, {"medseg": 16})
    assert "the last; no slices chose it" in last and "decided nothing" in last and "too good" not in last
    assert "crops of 32" in last and "asked twice" in last
    assert "lowest loss" in (card := (tiny_run/"model_card.md").read_text(encoding="utf-8")) and "asked twice" not in card


def test_no_lung_is_no_extent():
    "A scan without lung has no percentage; it must not turn the whole comparison into NaN."
    with pytest.raises(BadInput, match="scans without lung"): agreement([1, float("nan"), 3], [1, 2, 3])


def test_every_number_of_metrics_json_is_explained(tiny_run):
    "Each key is named in the lesson's list; the intervals, which the report adds, in the workshop's text."
    prose = {name: "\n".join(c.source for c in lessons.read(ROOT/"nbs"/f"{name}.ipynb").cells if c.cell_type == "markdown")
             for name in ("16_results", "18a_report")}
    lists = [re.findall(r"^- `.+$", text.partition("## All the numbers")[2], re.M) for text in prose.values()]
    listed = set(re.findall(r"`(\w+)`", "\n".join(sum(lists, []))))
    keys = set(json.loads((tiny_run/"metrics.json").read_text()))
    assert {"n_train", "miou", "baseline", "ci95"} <= keys
    assert keys <= listed and all(lists)


def test_lesson_16s_thresholds_are_the_tables():
    "The intervals that the lesson writes down give the pixels of book.csv. (Another processor rounds differently.)"
    rows = pd.read_csv(ROOT/"covid_nbdev"/"tables"/"book.csv", comment="#").query("predictor == 'thresholds'").set_index("patient")
    text = (ROOT/"nbs"/"16_results.ipynb").read_text(encoding="utf-8")
    intervals = re.search(r"thresholds = ThresholdBaseline\((\{.+?\})\)", text)[1]
    baseline = ThresholdBaseline(ast.literal_eval(intervals))
    for patient in (1000, 1013, 1039):
        hu, true = make_slice(patient, 128, style="medseg")
        pred = baseline(hu)
        for c, name in enumerate(("ground_glass", "consolidation")):
            found = ((pred == c) & (true == c)).sum(), ((pred == c) & (true != c)).sum(), ((pred != c) & (true == c)).sum()
            assert np.allclose(found, [rows.loc[patient, f"{what}_{name}"] for what in ("tp", "fp", "fn")], atol=6)
