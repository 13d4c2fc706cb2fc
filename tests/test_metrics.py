"""Metrics against torchmetrics, the well-kept library, on thousands of random cases; and the properties they must have.
What is no class number is refused by whatever takes labels."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from covid_nbdev.core import BadInput
from covid_nbdev.etl import build_store
from covid_nbdev.extent import lesion_extent
from covid_nbdev.masks import class_numbers, mask_to_onehot, onehot_to_mask, paint_errors, show_mask
from covid_nbdev.metrics import (ConfusionMatrix, confusion, dice, hausdorff95, iou, miou, miou_by_batch,
                                 miou_per_image, miou_pooled, surface_dice)
from covid_nbdev.play import scores_html, second_reader_html
from covid_nbdev.report import write_submission
from covid_nbdev.results import error_text, remove_small, telling_slices, threshold_baseline


def labels(seed, classes_in_use, side, n=2):
    "Random label arrays in which some classes may be absent."
    rng = np.random.default_rng(seed)
    used = rng.choice(4, classes_in_use, replace=False)
    return used[rng.integers(0, classes_in_use, (n, side, side))]


cases = given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 12))


@settings(max_examples=1000, deadline=None)
@cases
def test_equal_to_torchmetrics(seed, classes_in_use, side):
    import torchmetrics.functional.classification as theirs      # seconds, which every process would spend that collects tests
    pred, true = labels(seed, classes_in_use, side)
    cm = ConfusionMatrix().update(pred, true)
    args = torch.tensor(pred), torch.tensor(true)
    for ours, their in ((cm.iou(absent=0), theirs.multiclass_jaccard_index), (cm.dice(absent=0), theirs.multiclass_f1_score),
                        (cm.precision(), theirs.multiclass_precision), (np.nan_to_num(cm.recall()), theirs.multiclass_recall)):
        np.testing.assert_allclose(ours, their(*args, num_classes=4, average=None, validate_args=False).numpy(), atol=1e-6)
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


TENSORS = [torch.uint8, torch.int8, torch.uint16, torch.int16, torch.uint32, torch.int32, torch.uint64, torch.int64, torch.float16,
           torch.bfloat16, torch.float32, torch.float64]


def ways_to_hold(values):
    "The same numbers in every type: NumPy's, torch's, a list."
    for dtype in "uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64 >f4 >i2".split(): yield values.astype(dtype)
    for dtype in TENSORS: yield torch.tensor(values).to(dtype)
    yield values.tolist()
    yield np.asfortranarray(values)


def test_whole_numbers_of_any_type():
    "Each of the two may be of any kind: NIfTI's masks are often floats, and a truth may be NumPy beside a predicted tensor."
    pred, true = labels(0, 4, 16)
    expected = ConfusionMatrix().update(pred, true).counts
    assert expected.sum() == 256 and len(np.unique(pred)) == 4
    for p in ways_to_hold(pred):
        for t in (true, torch.tensor(true), true.astype(np.uint64), true.astype(np.float32)):
            np.testing.assert_array_equal(confusion(p, t), expected)
            np.testing.assert_array_equal(confusion(t, p), expected.T)
        np.testing.assert_array_equal(class_numbers(p), pred)
        np.testing.assert_array_equal(mask_to_onehot(p), mask_to_onehot(pred))
        assert lesion_extent(p) == lesion_extent(pred)
    for two in (bool, np.uint8, np.float64):
        np.testing.assert_array_equal(confusion((pred < 2).astype(two), torch.tensor(true < 2), 2), confusion(pred < 2, true < 2, 2))
    assert confusion(np.full(3, 16), np.full(3, 16.), 17)[16, 16] == 3       # more pairs than a byte holds


SLICE = np.where(np.eye(4), 40, -1000)
TAKE_LABELS = {   # all that takes class numbers (or, the last two, a mask of one class): called with a wrong one
    "iou": lambda x: iou(x, labels(0, 4, 4)[0]), "iou, truth": lambda x: iou(labels(0, 4, 4)[0], x), "iou, both": lambda x: iou(x, x),
    "miou": lambda x: miou(x, labels(0, 4, 4)[0]), "dice": lambda x: dice(x, labels(0, 4, 4)[0]),
    "update": lambda x: ConfusionMatrix().update(x, labels(0, 4, 4)[0]), "confusion": lambda x: confusion(x, torch.zeros(4, 4)),
    "lesion_extent": lesion_extent, "mask_to_onehot": mask_to_onehot, "show_mask": lambda x: show_mask(SLICE, x),
    "remove_small": lambda x: remove_small(x, 3), "telling": lambda x: telling_slices([x], [labels(0, 4, 4)[0]]),
    "thresholds": lambda x: threshold_baseline([SLICE], [x]), "scores_html": lambda x: scores_html(x[None], labels(0, 4, 4, 1)),
    "second_reader": lambda x: second_reader_html(SLICE, labels(0, 4, 4)[0], x),
    "paint_errors": lambda x: paint_errors(np.ones((4, 4, 3)), x, x), "error_text": lambda x: error_text(x, x),
}
rng = np.random.default_rng(0)
NO_LABELS = {"shares": rng.random((4, 4)), "logits": rng.normal(size=(4, 4))*9, "one half": np.where(np.eye(4), .5, 1.), "NaN": np.full((4, 4), np.nan),
             "almost": np.full((4, 4), .999)}


@pytest.mark.parametrize("take", TAKE_LABELS)
@pytest.mark.parametrize("as_", [np.float32, torch.tensor, lambda x: torch.tensor(x).half().requires_grad_()], ids=["numpy", "torch", "half"])
def test_what_is_no_class_number_is_refused(take, as_):
    "Not floored to ground glass, and in a line that says what to do."
    for name, wrong in NO_LABELS.items():
        with pytest.raises(BadInput, match="not whole numbers.+ take the argmax"): TAKE_LABELS[take](as_(wrong))


def test_of_logits_the_argmax_is_missing():
    true = torch.tensor(labels(0, 4, 8))
    logits = torch.nn.functional.one_hot(true, 4).movedim(-1, 1)*3. + .5        # (2, 4, 8, 8)
    for pred in (logits, logits.softmax(1), logits[0], logits.numpy()):
        with pytest.raises(BadInput, match="argmax"): iou(pred, true)
    np.testing.assert_array_equal(iou(logits.argmax(1), true), iou(true, true))


def test_a_submission_of_probabilities_is_refused(tmp_path):
    with pytest.raises(BadInput, match="argmax"): write_submission(tmp_path/"s.csv", [np.full((4, 4), .5)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [np.array([["a", "b"]]), np.array([[None, 1]]), np.array([[1j, 0]])], ids=["text", "objects", "complex"])
def test_other_types_are_refused(wrong):
    with pytest.raises(BadInput, match="class numbers 0 to 3"): iou(wrong, np.zeros((1, 2), int))


def test_class_numbers_are_no_mask_of_one_class():
    "Class 0 would be \"no\", and the three others \"yes\"."
    for draw in (error_text, lambda p, t: paint_errors(np.ones((4, 4, 3)), p, t)):
        with pytest.raises(BadInput, match="labels == 1"): draw(np.full((4, 4), 3), np.eye(4))


def test_counts_that_are_shares_are_refused():
    with pytest.raises(BadInput, match="whole numbers"): miou_pooled(np.eye(4)[None]/4)
    assert ConfusionMatrix(np.eye(4)).miou() == 1


NEAR_MISSES = {   # what somebody's masks hold: what the line says is there, and what to do
    "0 and 255": (lambda m: m*np.uint8(255), "the value 255 .+divide the masks by 255"),
    "0 and 255, floats": (lambda m: m*np.float32(255), r"the value 255\.0 .+divide the masks by 255"),
    "0.9999999": (lambda m: m*np.float32(.9999999), r"the value 0\.9999999 .+np\.rint"),
    "above 0": (lambda m: m + 1e-9, r"the value 1e-09 .+np\.rint"),
    "probabilities": (lambda m: m*.5, r"the value 0\.5 .+make the masks one-hot"),
    "class numbers": (lambda m: m*np.arange(1, 5), "the value [234] .+make the masks one-hot"),
    "gray values": (lambda m: m*np.array([255, 128, 64, 200]), "the value .+make the masks one-hot"),
    "NaN": (lambda m: m*np.nan, "the value nan"),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_near_misses_of_masks(name, copy_layout, tmp_path):
    "From a notebook, and from Kaggle's layout, where file and slice are named, too."
    spoil, message = NEAR_MISSES[name]
    masks = np.load(copy_layout/"masks_medseg.npy").astype(np.uint8)
    with pytest.raises(BadInput, match=message): onehot_to_mask(spoil(masks))
    np.save(copy_layout/"masks_medseg.npy", spoil(masks))
    with pytest.raises(BadInput, match=message) as e: build_store(copy_layout, tmp_path/"store", progress=False)
    assert "masks_medseg.npy, slice 0" in str(e.value) and not (tmp_path/"store").exists()


def test_channels_in_another_place():
    masks = mask_to_onehot(labels(0, 4, 16))
    with pytest.raises(BadInput, match="channels last: np.moveaxis"): onehot_to_mask(np.moveaxis(masks, -1, -3))
    for one_channel in (labels(0, 4, 16), labels(0, 4, 16)[..., None]):
        with pytest.raises(BadInput, match="mask_to_onehot"): onehot_to_mask(one_channel)


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


def test_borders_equal_to_monai():
    "Surface Dice and HD95 against MONAI on 200 pairs of blobs, some of them at the picture's edge; and the four empty cases."
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice
    from scipy import ndimage
    rng = np.random.default_rng(0)
    def blobs(shape):
        smooth = ndimage.gaussian_filter(rng.random(shape), rng.uniform(.3, 3))
        return smooth > np.quantile(smooth, rng.uniform(.3, .97))
    for _ in range(200):
        shape = rng.integers(6, 40, 2)
        pred, true = blobs(shape), blobs(shape)
        p, t = (torch.tensor(m)[None, None].float() for m in (pred, true))
        assert np.isclose(surface_dice(pred, true), compute_surface_dice(p, t, [2.], include_background=True).item(), atol=1e-6)
        assert np.isclose(hausdorff95(pred, true), compute_hausdorff_distance(p, t, include_background=True, percentile=95).item(), atol=1e-5)
    some, none = np.eye(4, dtype=bool), np.zeros((4, 4), bool)
    assert [surface_dice(p, t) for p, t in ((none, none), (some, none), (none, some), (some, some))] == [1, 0, 0, 1]
    assert [hausdorff95(p, t) for p, t in ((none, none), (some, none), (none, some), (some, some))] == [0, np.inf, np.inf, 0]
    for wrong in ((some, np.eye(5)), (some*3, some), (some.astype(float)*.5, some)):
        with pytest.raises(BadInput): surface_dice(*wrong)
        with pytest.raises(BadInput): hausdorff95(*wrong)
