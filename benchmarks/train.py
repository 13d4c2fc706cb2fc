"""The trainer against the bare loop, fastai and Lightning: seconds per step, in one run; the wait for the loader; memory.

    pip install -e .[bench]
    python benchmarks/train.py              about six minutes on 2 cores
    python benchmarks/train.py --memory     the memory table alone, half a minute

The same network, the same slices in the same order, the same loss and learning rate; every way starts from the same weights.
The bare loop only learns. The trainer also watches for NaN and counts each batch for the mIoU; fastai and Lightning keep a
smoothed loss. Rounds are interleaved, so that what else the machine does falls on all alike.
"""
import argparse, copy, statistics, tempfile, time, warnings
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn
from torch.optim.lr_scheduler import ConstantLR

from covid_nbdev.adam import Adam
from covid_nbdev.augment import dataloaders
from covid_nbdev.etl import build_store
from covid_nbdev.model import build_model
from covid_nbdev.phantom import write_phantom_dataset
from covid_nbdev.train import Learner, TrainConfig, train_epoch

warnings.filterwarnings("ignore")
SIZE, BATCH, STEPS, LR, ROUNDS = 128, 8, 8, 1e-4, 3
loss_fn = nn.functional.cross_entropy


class Watched:
    "A loader that adds up how long one waits for it."
    def __init__(self, loader): self.loader, self.waited = loader, 0.
    def __len__(self): return len(self.loader)
    def __iter__(self):
        batches = iter(self.loader)
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - start
            if batch is None: return
            yield batch


def bare(model, loader, torchs=False):
    optimizer = (torch.optim.Adam if torchs else Adam)(model.parameters(), lr=LR)
    model.train()
    for x, y in loader:
        loss_fn(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()


def bare_torch(model, loader): bare(model, loader, torchs=True)


def trainer(model, loader):
    learn = Learner(model, SimpleNamespace(train=loader), TrainConfig(lr=LR, precision="fp32"))
    learn.schedule = ConstantLR(learn.optimizer, 1)
    train_epoch(learn)


def with_fastai(model, loader):
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper
    learner = Learner(DataLoaders(loader, loader, device=torch.device("cpu")), model, loss_func=loss_fn, lr=LR,
                      opt_func=lambda params, **kw: OptimWrapper(params, torch.optim.Adam, **kw))
    learner._do_epoch_validate = lambda *a, **k: None
    learner.logger = lambda *a: None
    learner.fit(1)


def with_lightning(model, loader):
    import lightning
    import logging
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    class Module(lightning.LightningModule):
        def __init__(self): super().__init__(); self.net = model
        def training_step(self, batch, i): return loss_fn(self.net(batch[0]), batch[1])
        def configure_optimizers(self): return torch.optim.Adam(self.parameters(), lr=LR)
    lightning.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
                      enable_model_summary=False).fit(Module(), loader)


WAYS = {"bare loop, our Adam": bare, "bare loop, torch's Adam": bare_torch, "trainer (covid_nbdev)": trainer,
        "fastai": with_fastai, "Lightning": with_lightning}


def speed():
    "Seconds per step of each way: the median of the rounds."
    with tempfile.TemporaryDirectory() as tmp:
        write_phantom_dataset(Path(tmp)/"raw", n_radiopaedia=0, n_medseg=BATCH*STEPS + 24, n_test=1, size=256, seed=0)
        store = build_store(Path(tmp)/"raw", Path(tmp)/"store", progress=False)
        torch.manual_seed(0)
        start = build_model().to(memory_format=torch.channels_last)
        seconds, weights = {name: [] for name in WAYS}, {}
        for n in range(ROUNDS + 1):                                    # the first round warms up
            for name in list(WAYS)[n % len(WAYS):] + list(WAYS)[:n % len(WAYS)]:
                loader, model = dataloaders(store, SIZE, BATCH).train, copy.deepcopy(start)
                torch.manual_seed(n)
                begin = time.perf_counter()
                WAYS[name](model, loader)
                if n: seconds[name].append((time.perf_counter() - begin)/len(loader))
                weights[name] = model.state_dict()["decoder.blocks.x_0_0.conv1.0.weight"]
        reference = statistics.median(seconds["bare loop, torch's Adam"])
        for name, s in seconds.items():
            middle = statistics.median(s)
            moved = (weights[name] - weights["bare loop, torch's Adam"]).abs().max().item()
            print(f"{name:25} {middle:.3f} s a step ({min(s):.3f} to {max(s):.3f}), {middle/reference:.2f} times the bare loop "
                  f"with torch's Adam; weights differ by {moved:.1e}")
        waiting(store, start)


def waiting(store, start):
    "The share of a step that is spent waiting for the loader."
    for workers in (0, 1):
        loader, model = dataloaders(store, SIZE, BATCH, workers=workers).train, copy.deepcopy(start)
        watched = Watched(loader)
        begin = time.perf_counter()
        trainer(model, watched)
        whole = time.perf_counter() - begin
        print(f"{workers} loader processes: {watched.waited/whole:.1%} of the time is spent waiting for slices "
              f"({1e3*watched.waited/len(loader):.0f} ms a step)")


def saved_bytes(encoder, size, precision) -> int:
    "Bytes that the forward pass of one slice keeps for the backward pass: each tensor's memory once, weights left out."
    model, seen = build_model(encoder).to(memory_format=torch.channels_last).train(), {}
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    def keep(t):
        if t.untyped_storage().data_ptr() not in weights: seen[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes(), t
        return t
    x = torch.zeros(1, 1, size, size).contiguous(memory_format=torch.channels_last)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"): logits = model(x)
        loss_fn(logits.float(), torch.zeros(1, size, size, dtype=torch.long))
    return sum(n for n, _ in seen.values())


def memory(deck_gb=16):
    "What a training needs, computed: no GPU was measured. Activations grow with the pixels; weights, gradients and Adam don't."
    print("computed, not measured: the card also holds CUDA itself and workspaces (a gigabyte or so)")
    for encoder in ("efficientnet-b2", "lite2"):
        fixed = 4*4*sum(p.numel() for p in build_model(encoder).parameters())     # weight, gradient and two averages of 4 bytes
        for precision in ("fp32", "bf16"):
            small, middle, large = (saved_bytes(encoder, size, precision) for size in (128, 192, 256))
            per_px = (large - small)/(256**2 - 128**2)
            assert abs(small + per_px*(192**2 - 128**2) - middle) < .02*middle    # a straight line, so it may be prolonged
            for size in (256, 512):
                per_slice = per_px*size**2
                rows = ", ".join(f"{n}: {(fixed + n*per_slice)/1e9:.1f} GB" for n in (1, 4, 8, 16, 32))
                most = int((deck_gb*1e9 - fixed - 1e9)//per_slice)
                print(f"{encoder} {size}² {precision}: batch of {rows}; at most {most} in the deck's {deck_gb} GB less one")


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--memory", action="store_true")
    if not p.parse_args().memory: speed()
    memory()
