"""Limits of agreement that grow with the size: against numpy.polyfit, and what is refused."""
import numpy as np
import pytest

from covid_nbdev.core import BadInput
from covid_nbdev.extent import agreement, agreement_by_size


def pairs(seed, everywhere, share, n=40):
    rng = np.random.default_rng(seed)
    reference = rng.uniform(1, 60, n)
    return reference + 2 + (everywhere + share*reference)*rng.normal(size=n), reference


@pytest.mark.parametrize("seed", range(20))
def test_as_polyfit(seed):
    measured, reference = pairs(seed, 3, .15)
    size, errors = (measured + reference)/2, measured - reference
    middle = np.polyfit(size, errors, 1)
    scatter = np.polyfit(size, np.abs(errors - np.polyval(middle, size)), 1)
    if scatter[1] < 0: scatter = np.array([np.linalg.lstsq(size[:, None], np.abs(errors - np.polyval(middle, size)), rcond=None)[0][0], 0])
    found = agreement_by_size(measured, reference)
    np.testing.assert_allclose(found["mean_error"], middle, atol=1e-9)
    np.testing.assert_allclose(found["low"], middle - 2.46*scatter, atol=1e-9)
    np.testing.assert_allclose(found["high"], middle + 2.46*scatter, atol=1e-9)


def test_by_hand():
    "Sizes 10, 10, 20, 20 with errors 2, 0, 4, 0: a tenth of the size, give or take a tenth of it."
    found = agreement_by_size([11, 10, 22, 20], [9, 10, 18, 20])
    np.testing.assert_allclose([found["mean_error"], found["low"], found["high"]], [(.1, 0), (-.146, 0), (.346, 0)], atol=1e-12)


def test_even_scatter_gives_nearly_the_simple_limits():
    measured, reference = pairs(0, 4, 0, n=20_000)
    simple, found = agreement(measured, reference), agreement_by_size(measured, reference)
    for end in ("low", "high"): assert np.polyval(found[end], 30) == pytest.approx(simple[end], abs=.2)


def test_limits_never_cross_within_the_sizes():
    "Few patients, even scatter: those whose limits would cross are refused, and not many."
    refused = 0
    for seed in range(200):
        measured, reference = pairs(seed, 1, .1, n=12)
        try: found = agreement_by_size(measured, reference)
        except BadInput:
            refused += 1
            continue
        size = (measured + reference)/2
        assert (np.polyval(found["high"], size) >= np.polyval(found["low"], size)).all()
    assert refused < 20


@pytest.mark.parametrize("measured, reference, words", [
    ([1, 2, 3], [1, 2], "two or more pairs"), ([1, float("nan"), 3], [1, 2, 3], "scans without lung"),
    ([9, 11], [11, 9], "only the size 10"), ([9, 1, 9, 11, 20], [1, 9, 9, 11, 20], "shrink with the size")])
def test_refused(measured, reference, words):
    with pytest.raises(BadInput, match=words): agreement_by_size(measured, reference)
