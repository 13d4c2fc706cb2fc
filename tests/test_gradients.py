"""`Value` against torch's autograd on random graphs; what users can get wrong; the numerical gradient."""
import numpy as np
import pytest
import torch

from covid_nbdev.core import BadInput
from covid_nbdev.gradients import numerical_gradient, Value

OPERATIONS = [lambda a, b: a + b, lambda a, b: a - b, lambda a, b: a*b/3, lambda a, b: a/(b*b + 1), lambda a, b: a.relu(), lambda a, b: (a/9).relu().exp(),
              lambda a, b: (a**2 + .1).log(), lambda a, b: (b**2 + .1)**.5, lambda a, b: (a**2 + 1)**-1.5, lambda a, b: 2*a - 1, lambda a, b: 1/(a**2 + 1),
              lambda a, b: 3 - b, lambda a, b: -a, lambda a, b: a**3/50, lambda a, b: np.float64(.5)*b if isinstance(b, Value) else .5*b]


def grow(seed, leaves):
    "Forty operations in a random order, each result used again or not; the last ten are added up."
    rng, values = np.random.default_rng(seed), list(leaves)
    for _ in range(40):
        a, b = (values[i] for i in rng.integers(max(0, len(values) - 12), len(values), 2))
        values.append(OPERATIONS[rng.integers(len(OPERATIONS))](a, b))
    return sum(values[-10:]) + sum(leaf*leaf for leaf in leaves)


@pytest.mark.parametrize("seed", range(20))
def test_equals_torch(seed):
    numbers = np.random.default_rng(100 + seed).normal(size=5)
    ours, theirs = [Value(n) for n in numbers], [torch.tensor(n, dtype=torch.float64, requires_grad=True) for n in numbers]
    loss, expected = grow(seed, ours), grow(seed, theirs)
    for _ in range(2):         # the second time onto what is there
        loss.backward()
        expected.backward(retain_graph=True)
    assert loss.data == pytest.approx(expected.item(), rel=1e-9, abs=1e-9)
    found, wanted = np.array([v.grad for v in ours]), np.array([t.grad.item() for t in theirs])
    assert np.abs(found - wanted).max() <= 1e-6*max(1, np.abs(wanted).max()) and np.abs(wanted).min() > 0
    measured = numerical_gradient(lambda w: grow(seed, [Value(n) for n in w]).data, numbers)
    assert np.abs(2*measured - wanted).max() <= 1e-4*max(1, np.abs(wanted).max())


def test_two_losses_share_a_part():
    a, t = Value(1.5), torch.tensor(1.5, requires_grad=True)
    for v in (a, t):
        shared = v.exp()*v
        (shared**2).backward(**({"retain_graph": True} if v is t else {}))
        (shared + v).backward()
    assert a.grad == pytest.approx(t.grad.item(), rel=1e-5)


def test_deep_and_wide_graphs():
    v = start = Value(1)
    for _ in range(30_000): v = v + 1
    v.backward()
    assert start.grad == 1 and v.data == 30_001
    v = start = Value(1)
    for _ in range(200): v = v*.5 + v*.5
    v.backward()
    assert start.grad == 1
    alone = Value(3)
    alone.backward()
    assert alone.grad == 1 and (Value(2)*Value(2)).slopes == (2, 2)


@pytest.mark.parametrize("power, at", [(0, 0), (1, 0), (2, 0), (2, -3), (-1, -3), (0, -3), (.5, 4)])
def test_powers_at_the_edges(power, at):
    v, t = Value(at), torch.tensor(float(at), requires_grad=True)
    (v**power).backward(), (t**power).backward()
    assert ((v**power).data, v.grad) == pytest.approx(((t**power).item(), t.grad.item()))


@pytest.mark.parametrize("mistake", [lambda: Value("x"), lambda: Value([1, 2]), lambda: Value(np.ones(3)), lambda: Value(Value(1)), lambda: Value(2)*np.ones(2),
    lambda: np.ones(2)*Value(2), lambda: Value(2)**Value(2), lambda: Value(-1)**.5, lambda: Value(0)**-1, lambda: 1/Value(0), lambda: Value(0)**.5, lambda: Value(0).log(),
    lambda: Value(-1).log(), lambda: Value(710).exp(), lambda: numerical_gradient(lambda w: w, [1., 2.]), lambda: numerical_gradient(lambda w: w, 1., h=0)])
def test_what_users_can_get_wrong(mistake):
    with pytest.raises(BadInput, match="found .+; expected"): mistake()


def test_numerical_gradient_of_any_shape():
    w = np.arange(6).reshape(2, 3)              # whole numbers are taken as floats, and left as they are
    def cubes(w): return (w**3).sum()
    assert numerical_gradient(cubes, w) == pytest.approx(3*w**2, abs=1e-6)
    assert (w == np.arange(6).reshape(2, 3)).all() and numerical_gradient(cubes, 2.) == pytest.approx(12)
