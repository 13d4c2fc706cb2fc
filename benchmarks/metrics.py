"""Per-class IoU over a set of 512² slices: ConfusionMatrix against one pass per class, and against torchmetrics.

    python benchmarks/metrics.py [--slices 48]
"""
import argparse, time, tracemalloc

import numpy as np
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from covid_nbdev.metrics import ConfusionMatrix
from covid_nbdev.phantom import make_slice


def naive(pred, true):
    "Collect everything, then one pass per class: what most notebooks do."
    pred, true = np.concatenate(pred), np.concatenate(true)
    return np.array([((pred == c) & (true == c)).sum()/max(1, ((pred == c) | (true == c)).sum()) for c in range(4)])


def ours(pred, true):
    cm = ConfusionMatrix()
    for p, t in zip(pred, true): cm.update(p, t)
    return cm.iou(absent=0)


def theirs(pred, true):
    metric = MulticlassJaccardIndex(num_classes=4, average="none")
    for p, t in zip(pred, true): metric.update(torch.from_numpy(p), torch.from_numpy(t))
    return metric.compute().numpy()


def best_of(f, *args, times=5):
    seconds = []
    for _ in range(times):
        start = time.perf_counter(); result = f(*args); seconds.append(time.perf_counter() - start)
    return min(seconds), result


def peak_mb(f, *args):
    tracemalloc.start(); f(*args); peak = tracemalloc.get_traced_memory()[1]; tracemalloc.stop()
    return peak/1e6


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--slices", type=int, default=48)
    n = p.parse_args().slices
    few = [make_slice(seed=s)[1] for s in range(6)]
    true = np.stack([few[i % 6] for i in range(n)])
    pred = np.roll(true, (3, -2), axis=(1, 2))
    print(f"{n} slices of 512², {torch.get_num_threads()} threads; NumPy's peak memory (torch's own is not counted)\n")
    for batch_size in (1, 8, 24):
        batches = [a.reshape(-1, batch_size, 512, 512) for a in (pred, true)]
        results = {name: (*best_of(f, *batches), peak_mb(f, *batches)) for name, f in
                   {"ConfusionMatrix": ours, "a pass per class": naive, "torchmetrics": theirs}.items()}
        base = results["ConfusionMatrix"][0]
        for name, (seconds, values, mb) in results.items():
            np.testing.assert_allclose(values, results["ConfusionMatrix"][1], atol=1e-6)
            print(f"batches of {batch_size:2}  {name:17} {1000*seconds/n:6.2f} ms a slice  {seconds/base:5.2f} times ours  {mb:7.1f} MB")


if __name__ == "__main__": main()
