"""Seconds per computed slice. The target is under 0.15 s for 512² on one core.

    python benchmarks/phantom.py      about half a minute
"""
import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"   # one core: before NumPy is imported

import statistics, time

import cv2
import numpy as np

from covid_nbdev.phantom import make_slice, make_volume
from covid_nbdev.trees import ARTERIES, grow_trees


def seconds(work, times=15):
    "Median wall time of `work(seed)` over different patients."
    work(0)   # caches, imports
    found = []
    for seed in range(1, times + 1):
        start = time.perf_counter()
        work(seed)
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def trees_together():
    "Seconds of eight trees one by one, and together, level by level."
    rng = np.random.default_rng(0)
    points = rng.uniform(-60, 60, (8, 512, 3)).astype(np.float32)
    noise = rng.standard_normal((8, 2*512 - 8, 3), np.float32)
    one_by_one = seconds(lambda _: [grow_trees([ARTERIES[0]], *pair) for pair in zip(points[:, None], noise[:, None])])
    return one_by_one, seconds(lambda _: grow_trees([ARTERIES[0]]*8, points, noise))


def main():
    cv2.setNumThreads(1)
    base = None
    for size in (512, 256, 128):
        for style in ("medseg", "radiopaedia"):
            s = seconds(lambda seed: make_slice(seed, size, style))
            base = base or s
            print(f"{style:12} {size}²  {1000*s:5.0f} ms a slice  ({s/base:.2f} of the first line)")
    s = seconds(lambda seed: make_volume(seed, 20, 512), times=2)/20
    print(f"volume of 20 512²  {1000*s:5.0f} ms a slice  ({s/base:.2f} of the first line): the patient is made once")
    one_by_one, together = trees_together()
    print(f"eight trees  {1000*one_by_one:.0f} ms one by one, {1000*together:.0f} ms together ({one_by_one/together:.1f} times faster)")


if __name__ == "__main__": main()
