"""Ten slices of 512² as a submission: ours, slice by slice, against pandas, all at once. The files must be equal; the time should be too.

    python benchmarks/submission.py      about half a minute
"""
import filecmp, statistics, tempfile, time
from pathlib import Path

import numpy as np
import pandas as pd

from covid_nbdev.phantom import make_slice
from covid_nbdev.report import write_submission


def with_pandas(path, labels):
    labels = np.stack(labels)
    hot = np.stack([labels == 0, labels == 1], axis=-1).astype(int).ravel()
    pd.DataFrame({"Id": np.arange(len(hot)), "Predicted": hot}).to_csv(path, index=False)


def seconds(write, path, labels, times=3):
    found = []
    for _ in range(times):
        start = time.perf_counter()
        write(path, labels)
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def main():
    labels = [make_slice(seed, 512)[1] for seed in range(10)]
    with tempfile.TemporaryDirectory() as tmp:
        ours, theirs = (seconds(write, Path(tmp)/name, labels) for write, name in ((write_submission, "a"), (with_pandas, "b")))
        if not filecmp.cmp(Path(tmp)/"a", Path(tmp)/"b", shallow=False): raise SystemExit("the files differ")
        size = (Path(tmp)/"a").stat().st_size
    print(f"ours {ours:.1f} s, pandas {theirs:.1f} s; equal files of {size/1e6:.0f} MB")


if __name__ == "__main__": main()
