"""Our optimizers against torch's, and what a trainer relies on: resuming bit for bit, schedules, lr_find's tidiness."""
import io

import pytest
import torch
from torch.nn.functional import mse_loss

from covid_nbdev.adam import SGD, Adam, Momentum, RMSProp, lr_find

PAIRS = {
    "SGD": (SGD, torch.optim.SGD, dict(lr=.02)),
    "Momentum": (Momentum, torch.optim.SGD, dict(lr=.005, momentum=.9)),
    "RMSProp": (RMSProp, torch.optim.RMSprop, dict(lr=.01, alpha=.99, eps=1e-8)),
    "Adam": (Adam, torch.optim.Adam, dict(lr=.02)),
    "Adam, other betas": (Adam, torch.optim.Adam, dict(lr=.02, betas=(.5, .9), eps=1e-4)),
}
pairs = pytest.mark.parametrize("ours, torchs, settings", PAIRS.values(), ids=PAIRS.keys())
rules = pytest.mark.parametrize("rule", [SGD, Momentum, RMSProp, Adam])


def make(seed, dtype=torch.float64):
    "A small network with a layer that is unused every third step, one never used, and its loss."
    torch.manual_seed(seed)
    net = torch.nn.ModuleDict({name: torch.nn.Linear(4, 4, dtype=dtype) for name in ("a", "sometimes", "b", "never")})
    x, y = torch.randn(30, 4, dtype=dtype), torch.randn(30, 4, dtype=dtype)
    def loss(step):
        h = net["a"](x).tanh()
        return mse_loss(net["b"](net["sometimes"](h) if step % 3 else h), y)
    return net, loss


def train(net, loss, opt, first=0, last=200, schedule=None):
    for step in range(first, last):
        opt.zero_grad(set_to_none=True)
        loss(step).backward()
        opt.step()
        if schedule: schedule.step()
    return [p.detach().clone() for p in net.parameters()]


def close(a, b, atol=1e-6):
    for p, q in zip(a, b, strict=True): torch.testing.assert_close(p, q, rtol=0, atol=atol)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pairs
def test_200_steps_like_torch(ours, torchs, settings, dtype, seed):
    paths = []
    for kind in ours, torchs:
        net, loss = make(seed, dtype)
        paths.append(train(net, loss, kind(net.parameters(), **settings)))
    close(*paths)


@rules
def test_parameters_without_gradient_are_left_alone(rule):
    net, loss = make(0)
    before = net["never"].weight.detach().clone()
    opt = rule(net.parameters(), lr=.1)
    train(net, loss, opt, last=5)
    assert torch.equal(net["never"].weight, before)
    assert net["never"].weight not in opt.state or not opt.state[net["never"].weight]


@rules
def test_resumes_bit_for_bit(rule):
    net, loss = make(0, torch.float32)
    whole = train(net, loss, rule(net.parameters(), lr=.01))
    net, loss = make(0, torch.float32)
    opt = rule(net.parameters(), lr=.01)
    train(net, loss, opt, last=77)
    file = io.BytesIO()
    torch.save({"net": net.state_dict(), "opt": opt.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    net, loss = make(0, torch.float32)
    net.load_state_dict(saved["net"])
    opt = rule(net.parameters(), lr=.5)     # the saved rate wins
    opt.load_state_dict(saved["opt"])
    resumed = train(net, loss, opt, first=77)
    assert all(map(torch.equal, whole, resumed))


def test_state_dict_is_the_same_each_time():
    states = []
    for _ in range(2):
        net, loss = make(1)
        opt = Adam(net.parameters(), lr=.01)
        train(net, loss, opt, last=10)
        file = io.BytesIO()
        torch.save(opt.state_dict(), file)
        states.append(file.getvalue())
    assert states[0] == states[1]


@pytest.mark.parametrize("ours, torchs, settings", [PAIRS["Adam"], PAIRS["Momentum"]], ids=["Adam", "Momentum"])
def test_one_cycle_like_torch(ours, torchs, settings):
    paths, seen = [], []
    for kind in ours, torchs:
        net, loss = make(2)
        opt = kind(net.parameters(), **settings)
        schedule = torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=.02, total_steps=200)
        paths.append(train(net, loss, opt, schedule=schedule))
        seen.append({k: opt.param_groups[0].get(k) for k in ("lr", "betas", "momentum", "max_lr", "min_lr")})
    close(*paths)
    assert seen[0] == seen[1]


def test_one_cycle_resumes_bit_for_bit():
    def start():
        net, loss = make(3, torch.float32)
        opt = Adam(net.parameters())
        return net, loss, opt, torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=.02, total_steps=200)
    net, loss, opt, schedule = start()
    whole = train(net, loss, opt, schedule=schedule)
    net, loss, opt, schedule = start()
    train(net, loss, opt, last=120, schedule=schedule)
    file = io.BytesIO()
    torch.save([x.state_dict() for x in (net, opt, schedule)], file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    net, loss, opt, schedule = start()
    for x, state in zip((net, opt, schedule), saved): x.load_state_dict(state)
    assert all(map(torch.equal, whole, train(net, loss, opt, first=120, schedule=schedule)))


def test_groups_have_their_own_rates():
    a, b = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(2))
    opt = Adam([{"params": [a], "lr": 1.}, {"params": [b]}], lr=.1)
    a.grad = b.grad = torch.ones(2)
    opt.step()
    torch.testing.assert_close(a.detach(), torch.full((2,), -1.))
    torch.testing.assert_close(b.detach(), torch.full((2,), -.1))


@rules
def test_closure_and_zero_grad(rule):
    w = torch.nn.Parameter(torch.ones(3))
    opt = rule([w], lr=.01)
    def closure():
        opt.zero_grad()
        loss = (w**2).sum()
        loss.backward()
        return loss
    assert opt.step(closure).item() == 3.0 and (w < 1).all()
    opt.zero_grad()
    assert w.grad is None and opt.step() is None


@pytest.mark.parametrize("rule, settings", [(Adam, dict(lr=-1.)), (Adam, dict(betas=(.9, 1.))), (Adam, dict(eps=-1.)),
    (Adam, dict(lr=float("nan"))), (Momentum, dict(momentum=1.5)), (RMSProp, dict(alpha=-.1)), (SGD, dict(lr=-.1))])
def test_bad_settings_say_so(rule, settings):
    with pytest.raises(ValueError, match="found .*expected"): rule([torch.nn.Parameter(torch.ones(1))], **settings)


# ---- lr_find

def small(generator=None):
    torch.manual_seed(0)
    x = torch.rand(96, 2)
    data = torch.utils.data.TensorDataset(x, x[:, :1] - x[:, 1:]**2)
    net = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Dropout(.2),
                              torch.nn.Linear(16, 1))
    net[0].register_buffer("unsaved", torch.zeros(1), persistent=False)
    def count(layer, *_): layer.unsaved.add_(1)             # as BatchNorm counts its minibatches
    net[0].register_forward_hook(count)
    net[1].eval()                                          # frozen statistics, say
    net[0].weight.requires_grad_(False)
    net[4].weight.grad = torch.ones_like(net[4].weight)
    return net, torch.utils.data.DataLoader(data, batch_size=16, shuffle=True, generator=generator)


def snapshot(net, generator=None):
    tensors = [t.clone() for t in net.state_dict().values()] + [net[0].unsaved.clone(), torch.get_rng_state()]
    if generator: tensors.append(generator.get_state())
    return (tensors, [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()],
            [None if p.grad is None else (id(p.grad), p.grad.tolist()) for p in net.parameters()])


def same(a, b): return all(map(torch.equal, a[0], b[0])) and a[1:] == b[1:]


@pytest.mark.parametrize("own_generator", [False, True])
def test_lr_find_gives_everything_back(own_generator):
    generator = torch.Generator().manual_seed(5) if own_generator else None
    net, loader = small(generator)
    before = snapshot(net, generator)
    found = lr_find(net, loader, mse_loss)
    assert same(before, snapshot(net, generator))
    assert len(found.lrs) == len(found.losses) and 1e-6 <= found.suggestion <= .1
    first = [x for x, _ in loader]
    assert len(first) == 6
    net, loader = small(torch.Generator().manual_seed(5) if own_generator else None)
    assert all(map(torch.equal, first, [x for x, _ in loader])), "the loader goes on as if nothing had happened"


def test_lr_find_gives_everything_back_after_an_error():
    net, loader = small()
    before, calls = snapshot(net), []
    def loss_fn(pred, true):
        calls.append(1)
        if len(calls) > 9: raise RuntimeError("on purpose")
        return mse_loss(pred, true)
    with pytest.raises(RuntimeError, match="on purpose"): lr_find(net, loader, loss_fn)
    assert len(calls) == 10 and same(before, snapshot(net))


@pytest.mark.parametrize("optimizer", [SGD, Momentum, RMSProp, Adam, torch.optim.Adam])
def test_lr_find_stops_when_the_loss_explodes(optimizer):
    net, loader = small()
    before = snapshot(net)
    found = lr_find(net, loader, lambda pred, true: mse_loss(pred, true)*1e6, optimizer, lr_min=1e-8, lr_max=1e8)
    assert len(found.losses) < 60 and torch.isfinite(torch.tensor(found.losses)).all()
    assert same(before, snapshot(net))


def test_lr_find_refuses():
    net, loader = small()
    for arguments, words in [((net, iter(loader), mse_loss), "used up"), ((net, [], mse_loss), "without minibatches")]:
        with pytest.raises(ValueError, match=words): lr_find(*arguments)
    for settings, words in [(dict(lr_min=1., lr_max=.1), "lr_min < lr_max"), (dict(steps=1), "at least 2")]:
        with pytest.raises(ValueError, match=words): lr_find(net, loader, mse_loss, **settings)
    with pytest.raises(ValueError, match="not finite"): lr_find(net, loader, lambda p, y: mse_loss(p, y)/0)
