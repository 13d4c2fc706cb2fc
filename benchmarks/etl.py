"""The store against the naive way, at the competition's full size: 829 + 100 + 10 slices of 512² with float32 masks.

    python benchmarks/etl.py [FOLDER]      needs 6 GB of disk and, for the naive way, 12 GB of memory; about 3 minutes

Both ways run in this one call, each in a process of its own, after the files were read once (so that both find them in
the same state of the disk cache). Memory is anonymous memory (RssAnon) above the imports, sampled every 5 ms: pages of
memory-mapped files don't count, the system takes those back when it needs them.
"""
import json, subprocess, sys, tempfile, threading, time
from pathlib import Path

import numpy as np

SIZE, COUNTS = 512, {"radiopedia": 829, "medseg": 100, "test_medseg": 10}


def write_files(folder: Path):
    "Full-size files: 16 different phantom slices, repeated. The pictures don't matter here, the bytes do."
    from covid_nbdev.competition import FILES
    from covid_nbdev.phantom import make_slice
    slices = [make_slice(seed, SIZE) for seed in range(16)]
    images = [hu.astype("<f4").tobytes() for hu, _ in slices]
    masks = [(labels[..., None] == np.arange(4)).astype("<f4").tobytes() for _, labels in slices]
    for source, n in COUNTS.items():
        for name, what, shape in zip(FILES[source], (images, masks), ((n, SIZE, SIZE, 1), (n, SIZE, SIZE, 4))):
            if name is None: continue
            with open(folder/name, "wb") as f:
                np.lib.format.write_array_header_1_0(f, {"descr": "<f4", "fortran_order": False, "shape": shape})
                for i in range(n): f.write(what[i % 16])


def naive(src: Path, dest: Path):
    "As in most notebooks: load all, convert, argmax, save."
    images = [np.load(src/f"images_{s}.npy") for s in ("radiopedia", "medseg")] + [np.load(src/"test_images_medseg.npy")]
    masks = [np.load(src/f"masks_{s}.npy") for s in ("radiopedia", "medseg")]
    dest.mkdir()
    np.save(dest/"images.npy", np.concatenate(images).astype(np.int16)[..., 0])
    np.save(dest/"labels.npy", np.concatenate(masks).argmax(-1).astype(np.uint8))


def store(src: Path, dest: Path):
    from covid_nbdev.etl import build_store
    build_store(src, dest, progress=False)


def anonymous_mb() -> float:
    line = next(l for l in open("/proc/self/status") if l.startswith("RssAnon"))
    return int(line.split()[1])/1024


def measure(way: str, src: Path, dest: Path):
    "Seconds, and the peak of anonymous memory above the imports: printed as JSON."
    import covid_nbdev.etl   # noqa: F401  both ways start with the same imports
    before, peak, done = anonymous_mb(), [0.], threading.Event()
    def sample():
        while not done.wait(.005): peak[0] = max(peak[0], anonymous_mb() - before)
    watcher = threading.Thread(target=sample)
    watcher.start()
    start = time.perf_counter()
    {"naive": naive, "store": store}[way](src, dest)
    seconds = time.perf_counter() - start
    done.set(); watcher.join()
    print(json.dumps({"seconds": seconds, "peak_mb": peak[0]}))


def main():
    if len(sys.argv) == 5 and sys.argv[1] == "--measure":
        return measure(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as tmp:
        src = Path(tmp)/"files"; src.mkdir()
        write_files(src)
        for f in src.iterdir():
            with open(f, "rb") as opened:
                while opened.read(1 << 26): pass
        found = {}
        for way in ("store", "naive"):
            line = subprocess.run([sys.executable, __file__, "--measure", way, src, Path(tmp)/way], check=True, capture_output=True, text=True).stdout
            found[way] = json.loads(line)
            print(f"{way:6} {found[way]['seconds']:6.1f} s   {found[way]['peak_mb']:7.0f} MB")
        a, b = (np.load(Path(tmp)/way/"labels.npy", mmap_mode="r") for way in found)
        assert all(np.array_equal(a[i], b[i]) for i in range(0, len(b), 50)), "the two ways disagree"
        print(f"the store is {found['naive']['seconds']/found['store']['seconds']:.1f} times as fast, "
              f"with {found['naive']['peak_mb']/found['store']['peak_mb']:.0f} times less memory")


if __name__ == "__main__": main()
