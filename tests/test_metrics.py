"""Metrics against torchmetrics, the well-kept library, on random cases."""
import numpy as np
import torch
from hypothesis import given, settings, strategies as st
from torchmetrics.functional.classification import multiclass_f1_score, multiclass_jaccard_index, multiclass_precision, multiclass_recall

from covid_nbdev.metrics import ConfusionMatrix, confusion


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 12))
def test_equal_to_torchmetrics(seed, classes_in_use, side):
    rng = np.random.default_rng(seed)
    used = rng.choice(4, classes_in_use, replace=False)
    pred, true = used[rng.integers(0, classes_in_use, (2, side, side))]
    cm = ConfusionMatrix().update(pred, true)
    args = torch.tensor(pred), torch.tensor(true)
    for ours, theirs in ((cm.iou(absent=0), multiclass_jaccard_index), (cm.dice(absent=0), multiclass_f1_score),
                         (cm.precision(), multiclass_precision), (np.nan_to_num(cm.recall()), multiclass_recall)):
        np.testing.assert_allclose(ours, theirs(*args, num_classes=4, average=None).numpy(), atol=1e-6)
    np.testing.assert_array_equal(confusion(*args), cm.counts)
    assert cm.counts.sum() == side*side
