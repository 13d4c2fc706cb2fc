"""Convolution, pooling and transposed convolution against torch; the receptive field against a gradient."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.nn import functional as F

from covid_nbdev.convolution import conv2d, conv_transpose2d, max_pool2d, receptive_field
from covid_nbdev.core import BadInput

numbers = st.integers(1, 4)


def arrays(seed, *shapes): return [np.random.default_rng(seed).normal(size=shape).astype(np.float32) for shape in shapes]
def by_torch(function, *args):
    "In 64 bits, as ours computes: torch's 32 bits alone may be off by more than 1e-5 where many products are added."
    return function(*(torch.tensor(a, dtype=torch.float64) for a in args[:3]), *args[3:]).numpy()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 999), numbers, numbers, st.integers(1, 5), st.integers(5, 12), st.integers(5, 12), st.integers(1, 3), st.integers(0, 2))
def test_conv2d_equals_torch(seed, c, o, k, rows, columns, stride, padding):
    x, w, b = arrays(seed, (c, rows, columns), (o, c, k, k), o)
    np.testing.assert_allclose(conv2d(x, w, b, stride, padding), by_torch(F.conv2d, x, w, b, stride, padding), atol=1e-10)
    np.testing.assert_allclose(conv2d(x, w, None, stride, padding), conv2d(x, w, b, stride, padding) - b[:, None, None], atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 999), numbers, numbers, st.integers(1, 5), st.integers(1, 7), st.integers(1, 7), st.integers(1, 4))
def test_transposed_equals_torch_and_is_the_transpose(seed, c, o, k, rows, columns, stride):
    x, w, b = arrays(seed, (c, rows, columns), (c, o, k, k), o)
    up = conv_transpose2d(x, w, b, stride)
    np.testing.assert_allclose(up, by_torch(F.conv_transpose2d, x, w, b, stride), atol=1e-10)
    large, = arrays(seed + 1, up.shape)
    down = conv2d(large, w, stride=stride)                   # the same weights, read the other way
    assert (down*x).sum() == pytest.approx((large*conv_transpose2d(x, w, None, stride)).sum(), abs=1e-3)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("sides", [(5, 5), (8, 12), (11, 6)])
def test_max_pool2d_equals_torch(size, sides):
    x, = arrays(0, (3, *sides))
    assert (max_pool2d(x, size) == F.max_pool2d(torch.tensor(x), size).numpy()).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), max_size=4))
def test_receptive_field_is_where_the_gradient_is(layers):
    size = receptive_field(layers)
    x = torch.zeros(1, 1, size, size, requires_grad=True)
    out = x
    for kernel, stride in layers: out = F.conv2d(out, torch.ones(1, 1, max(kernel, stride), max(kernel, stride))[..., :kernel, :kernel], stride=stride)
    assert out.shape[2:] == (1, 1)                           # a slice of that size is just enough
    out.sum().backward()
    seen = torch.nonzero(x.grad[0, 0])
    assert (seen.min(0).values == 0).all() and (seen.max(0).values == size - 1).all()


X, W = np.zeros((2, 6, 6)), np.zeros((3, 2, 3, 3))


@pytest.mark.parametrize("call", [
    lambda: conv2d(X[0], W), lambda: conv2d(X[None], W), lambda: conv2d(X[:1], W), lambda: conv2d(X, W[0]), lambda: conv2d(X, W[..., :2]),
    lambda: conv2d(X, W, [0, 0]), lambda: conv2d(X, W, 0), lambda: conv2d(X, W, stride=0), lambda: conv2d(X, W, stride=1.5),
    lambda: conv2d(X, W, padding=-1), lambda: conv2d(X[:, :2], W), lambda: conv2d(X, W[..., :0, :0]), lambda: conv2d(X[:, :0], W, padding=2),
    lambda: conv_transpose2d(X, W), lambda: conv_transpose2d(X[0], W), lambda: conv_transpose2d(X, W.swapaxes(0, 1), [0, 0]),
    lambda: conv_transpose2d(X, W.swapaxes(0, 1), stride=0), lambda: conv_transpose2d(X[:, :0], W.swapaxes(0, 1)),
    lambda: max_pool2d(X[0]), lambda: max_pool2d(X, 7), lambda: max_pool2d(X, 0), lambda: max_pool2d(X, 2.),
    lambda: receptive_field([(3, 0)]), lambda: receptive_field([3, 3]), lambda: receptive_field([(3, 1, 1)]), lambda: receptive_field([("3", 1)])])
def test_what_does_not_fit_is_refused_in_one_line(call):
    with pytest.raises(BadInput, match=r"^found .+; expected .+$"): call()
