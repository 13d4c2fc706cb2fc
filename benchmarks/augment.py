"""What rotation and mirroring do to a network: trained with and without them, scored on chests in three positions.

    python benchmarks/augment.py [--seeds 3] [--steps 400]
    python benchmarks/augment.py --speed      instead: milliseconds for each step of a 512² slice, and loaders, in half a minute

A small U-Net on computed patients (whole body in view, 64 by 64): 64 to learn from, 48 others to be scored on, as they
are, upside down, and mirrored. Every setting has the same number of steps and the same seeds. It says something about
this phantom and this network, and nothing about people.
"""
import argparse, time

import albumentations as A
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from covid_nbdev.augment import FILL, SliceDataset, train_transforms
from covid_nbdev.hu import AIR_HU, Standardizer, window
from covid_nbdev.metrics import ConfusionMatrix
from covid_nbdev.phantom import make_slice

SIDE = 64
POSITIONS = {"as they are": lambda x: x, "upside down": lambda x: x[..., ::-1, ::-1], "mirrored": lambda x: x[..., ::-1]}


def block(a, b): return nn.Sequential(*[m for i in (a, b) for m in (nn.Conv2d(i, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())])


class TinyUNet(nn.Module):
    def __init__(self, w=12):
        super().__init__()
        self.down = nn.ModuleList([block(1, w), block(w, 2*w), block(2*w, 4*w)])
        self.bottom = block(4*w, 8*w)
        self.up = nn.ModuleList([block(12*w, 4*w), block(6*w, 2*w), block(3*w, w)])
        self.classify = nn.Conv2d(w, 4, 1)

    def forward(self, x):
        skips = []
        for down in self.down:
            x = down(x); skips.append(x); x = nn.functional.max_pool2d(x, 2)
        x = self.bottom(x)
        for up in self.up: x = up(torch.cat([nn.functional.interpolate(x, scale_factor=2), skips.pop()], 1))
        return self.classify(x)


def gray(hu): return torch.from_numpy(window(hu, -600, 1500))[:, None]


def trained(slices, rotate, flip, seed, steps, batch_size=8):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    transforms = train_transforms(SIDE, SIDE, rotate=rotate, flip=flip, smallest_crop=.85)
    transforms.set_random_seed(seed)
    net = TinyUNet()
    opt = torch.optim.Adam(net.parameters(), 4e-3)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, 4e-3, total_steps=steps)
    for _ in range(steps):
        items = [transforms(image=slices[i][0].astype(np.float32), mask=slices[i][1]) for i in rng.choice(len(slices), batch_size, False)]
        x, y = gray(np.stack([i["image"] for i in items])), torch.from_numpy(np.stack([i["mask"] for i in items])).long()
        loss = nn.functional.cross_entropy(net(x), y)
        opt.zero_grad(); loss.backward(); opt.step(); sched.step()
    return net.eval()


@torch.no_grad()
def lesion_miou(net, slices, turn):
    hu, labels = (turn(np.stack(a)) for a in zip(*slices))
    pred = net(gray(np.ascontiguousarray(hu))).argmax(1).numpy()
    return ConfusionMatrix().update(pred, labels).iou()[:2].mean()


def naive_rotate(image, degrees):
    "Look up, for each new pixel, the nearest old one."
    c, s, half, last = np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), (len(image) - 1)/2, len(image) - 1
    y, x = np.mgrid[:len(image), :len(image)] - half
    old_y, old_x = np.rint(c*y - s*x + half).astype(int), np.rint(s*y + c*x + half).astype(int)
    inside = (old_y >= 0) & (old_y <= last) & (old_x >= 0) & (old_x <= last)
    return np.where(inside, image[old_y.clip(0, last), old_x.clip(0, last)], AIR_HU)


def milliseconds(step, times=30):
    step()
    start = time.perf_counter()
    for _ in range(times): step()
    return 1000*(time.perf_counter() - start)/times


class Repeated:
    "Slices in memory, in the place of a store."
    def __init__(self, n): self.images, self.labels = (np.stack([x]*n) for x in make_slice(seed=20, size=512, style="radiopaedia"))


def speed():
    store, standardizer = Repeated(64), Standardizer.fit(make_slice(seed=s, size=128)[0] for s in range(4))
    pair, recipe = dict(image=store.images[0].astype(np.float32), mask=store.labels[0]), train_transforms(256, 512)
    steps = {"rotate (naive)": lambda: (naive_rotate(pair["image"], 20), naive_rotate(pair["mask"], 20)),
             "rotate": lambda turn=A.Rotate((20, 20), p=1, **FILL): turn(**pair),
             "mirror": lambda flip=A.HorizontalFlip(p=1): flip(**pair),
             "the whole recipe": lambda: recipe(**pair), "standardize": lambda: standardizer(pair["image"])}
    for name, step in steps.items(): print(f"{name:17} {milliseconds(step):6.1f} ms")
    dataset = SliceDataset(store, np.tile(np.arange(64), 8), standardizer, recipe)
    for workers in (0, 1, 2):
        start = time.perf_counter()
        n = sum(len(y) for _, y in DataLoader(dataset, batch_size=8, num_workers=workers))
        print(f"{workers} loader processes: {n/(time.perf_counter() - start):5.0f} slices of 512² a second")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", type=int, default=3); p.add_argument("--steps", type=int, default=400)
    p.add_argument("--speed", action="store_true")
    a = p.parse_args()
    if a.speed: return speed()
    train, fresh = ([make_slice(seed=s, size=SIDE, style="radiopaedia") for s in r] for r in (range(64), range(1000, 1048)))
    print(f"lesion mIoU, mean over {a.seeds} seeds (lowest to highest); {a.steps} steps each\n")
    print("| rotation | mirroring | " + " | ".join(POSITIONS) + " |\n|---|---|" + "---|"*len(POSITIONS))
    for rotate in (0, 20, 180):
        for flip in (0, .5):
            nets = [trained(train, rotate, flip, seed, a.steps) for seed in range(a.seeds)]
            cells = []
            for turn in POSITIONS.values():
                scores = [lesion_miou(net, fresh, turn) for net in nets]
                cells.append(f"{np.mean(scores):.3f} ({min(scores):.3f}–{max(scores):.3f})")
            print(f"| ±{rotate}° | {'half of the slices' if flip else 'no'} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__": main()
