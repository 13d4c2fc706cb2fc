"""Metrics against torchmetrics, the well-kept library, on thousands of random cases; and the properties they must have."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torchmetrics.functional.classification import multiclass_f1_score, multiclass_jaccard_index, multiclass_precision, multiclass_recall

from covid_nbdev.core import BadInput
from covid_nbdev.metrics import (ConfusionMatrix, bootstrap_interval, confusion, dice, iou, miou, miou_by_batch,
                                 miou_per_image, miou_pooled)


def labels(seed, classes_in_use, side, n=2):
    "Random label arrays in which some classes may be absent."
    rng = np.random.default_rng(seed)
    used = rng.choice(4, classes_in_use, replace=False)
    return used[rng.integers(0, classes_in_use, (n, side, side))]


cases = given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 12))


@settings(max_examples=1000, deadline=None)
@cases
def test_equal_to_torchmetrics(seed, classes_in_use, side):
    pred, true = labels(seed, classes_in_use, side)
    cm = ConfusionMatrix().update(pred, true)
    args = torch.tensor(pred), torch.tensor(true)
    for ours, theirs in ((cm.iou(absent=0), multiclass_jaccard_index), (cm.dice(absent=0), multiclass_f1_score),
                         (cm.precision(), multiclass_precision), (np.nan_to_num(cm.recall()), multiclass_recall)):
        np.testing.assert_allclose(ours, theirs(*args, num_classes=4, average=None).numpy(), atol=1e-6)
    np.testing.assert_array_equal(confusion(*args), cm.counts)
    assert cm.counts.sum() == side*side


@settings(max_examples=1000, deadline=None)
@cases
def test_properties(seed, classes_in_use, side):
    pred, true = labels(seed, classes_in_use, side)
    i, d = iou(pred, true), dice(pred, true)
    assert ((0 <= i) & (i <= d) & (d <= 1)).all()
    np.testing.assert_allclose(d, 2*i/(1 + i))
    np.testing.assert_array_equal(i, iou(true, pred))                       # which of the two is the truth does not matter
    np.testing.assert_array_equal(iou(true, true), np.ones(4))
    order = np.random.default_rng(seed).permutation(side*side)              # nor where a pixel lies
    np.testing.assert_array_equal(i, iou(pred.ravel()[order], true.ravel()[order]))
    present = [c for c in range(4) if (true == c).any()]
    assert miou(pred, true) == pytest.approx(i[present].mean())


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6))
def test_pieces_add_up(seed, n, batch_size):
    "Slice by slice, in batches or at once: the same counts; pooling and the mean per image don't ask for the order."
    pred, true = np.random.default_rng(seed).integers(0, 4, (2, n, 6, 6))
    at_once, by_slice = ConfusionMatrix().update(pred, true), ConfusionMatrix()
    for p, t in zip(pred, true): by_slice.update(p, t)
    np.testing.assert_array_equal(at_once.counts, by_slice.counts)
    matrices = np.stack([confusion(p, t) for p, t in zip(pred, true)])
    assert miou_pooled(matrices) == pytest.approx(at_once.miou())
    assert miou_by_batch(matrices, n) == pytest.approx(miou_pooled(matrices))
    shuffled = matrices[np.random.default_rng(seed).permutation(n)]
    assert miou_pooled(shuffled) == pytest.approx(miou_pooled(matrices))
    assert miou_per_image(shuffled) == pytest.approx(miou_per_image(matrices))
    by_hand = [ConfusionMatrix().update(pred[k:k + batch_size], true[k:k + batch_size]).miou() for k in range(0, n, batch_size)]
    assert miou_by_batch(matrices, batch_size) == pytest.approx(np.mean(by_hand))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_tensors_of_any_whole_type(dtype):
    pred, true = labels(0, 4, 16)
    both = confusion(torch.tensor(pred).to(dtype), torch.tensor(true).to(dtype))
    np.testing.assert_array_equal(both, confusion(pred.astype(np.uint8), true.astype(np.int8)))


@pytest.mark.parametrize("wrong", [-1, 4, 255])
@pytest.mark.parametrize("as_", [np.array, torch.tensor])
def test_labels_out_of_range_are_refused(wrong, as_):
    good, bad = as_([[0, 1], [2, 3]]), as_([[0, 1], [2, wrong]])
    for args in ((good, bad), (bad, good)):
        with pytest.raises(BadInput, match="class numbers 0 to 3"): ConfusionMatrix().update(*args)
    with pytest.raises(BadInput, match="same shape"): confusion(good, good[:1])


def test_memory_stays_constant():
    "The matrix keeps sixteen numbers, however many slices it has seen."
    cm = ConfusionMatrix()
    for seed in range(50): cm.update(*labels(seed, 4, 32))
    assert set(vars(cm)) == {"counts"} and cm.counts.shape == (4, 4) and cm.counts.sum() == 50*32*32


def test_interval_by_patient_is_wider_than_by_slice():
    rng = np.random.default_rng(0)
    matrices = np.repeat(rng.integers(1, 50, (12, 4, 4)), 4, axis=0)         # four equal slices a patient
    by_slice, by_patient = bootstrap_interval(matrices), bootstrap_interval(matrices, groups=np.repeat(np.arange(12), 4))
    assert by_slice[1] - by_slice[0] < by_patient[1] - by_patient[0]
