"""Milliseconds for each step of a 512² slice, and slices a second of loaders with more and more processes.

    python benchmarks/augment.py        half a minute

What augmentation does to a network: augment_trained.py.
"""
import time

import albumentations as A
import numpy as np
from torch.utils.data import DataLoader

from covid_nbdev.augment import FILL, SliceDataset, train_transforms
from covid_nbdev.hu import AIR_HU, Standardizer
from covid_nbdev.phantom import make_slice


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


def main():
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


if __name__ == "__main__": main()
