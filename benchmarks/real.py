"""Every figure on real slices that lessons quote, computed anew: from a folder in Kaggle's layout, in two minutes.

    python benchmarks/real.py REAL              a table: computed, quoted, and in which cells the quoted figure stands
    python benchmarks/real.py REAL --all        its own figures alone, of whatever data lies there

The quoted figures belong to 88 labeled MedSeg slices (8-bit crops, estimated HU, lung class derived), not to Kaggle's files.
What the phantom is calibrated on (AUC, HU ranges, areas) is given for all slices and for those from the 25th on: the first
24 judge what was learned from the phantom, so they must not shape it. Their labels are read here for the published
baselines alone. Twins are named by row; MedSeg's numbers 43 and 46 are rows 42 and 45 where number 22 is missing.
"""
import argparse, json, re
from pathlib import Path

import cv2
import numpy as np

from covid_nbdev.competition import hu_slices, open_competition
from covid_nbdev.evidence import bootstrap_interval
from covid_nbdev.leaks import content_box, near_duplicates
from covid_nbdev.masks import CLASSES, FOLD_TABLE, onehot_codes
from covid_nbdev.metrics import ConfusionMatrix, confusion, iou
from covid_nbdev.phantom import pixel_auc
from covid_nbdev.results import lung_mask, threshold_baseline

ROOT = Path(__file__).resolve().parent.parent
N_TEST = 24
AIR, GROUND_GLASS, CONSOLIDATION, LUNG, BACKGROUND = -1000, 0, 1, 2, 3


def read(part):
    "HU int16 and labels uint8 of all slices of a source; labels None for test slices."
    hu = np.stack([hu for hu, _ in hu_slices(part.images, part.names[0])])
    return hu, None if part.masks is None else np.stack([FOLD_TABLE[onehot_codes(m)] for m in part.masks])


# ---- baselines on the first 24

def two_thresholds(hu, lungs):
    "Inside the lungs, smoothed: above −300 HU consolidation, above −700 ground glass."
    smooth = cv2.GaussianBlur(hu.astype(np.float32), (0, 0), hu.shape[-1]/256)
    inside = np.where(smooth > -300, CONSOLIDATION, np.where(smooth > -700, GROUND_GLASS, LUNG))
    return np.where(lungs, inside, BACKGROUND).astype(np.uint8)


def baselines(hu, labels):
    "name -> confusion matrices of the first 24 slices."
    searched = threshold_baseline(hu[N_TEST:], labels[N_TEST:])
    ways = {"true lungs, no lesions": lambda hu, true: np.where(true < 3, LUNG, BACKGROUND),
            "true lungs, −700 and −300 HU": lambda hu, true: two_thresholds(hu, true < 3),
            "lungs found, −700 and −300 HU": lambda hu, true: two_thresholds(hu, lung_mask(hu)),
            "lungs found, thresholds searched on the other slices": lambda hu, true: searched(hu)}
    return {name: np.stack([confusion(way(h, t), t) for h, t in zip(hu[:N_TEST], labels[:N_TEST])]) for name, way in ways.items()}


# ---- what the phantom is calibrated on

def statistics(hu, labels) -> dict:
    found = {f"HU of {name}, 5 to 95 %": tuple(int(v) for v in np.percentile(hu[labels == c], [5, 95]).round())
             for c, name in enumerate(CLASSES[:3])}
    found |= {f"area of {name}": float((labels == c).mean()) for c, name in enumerate(CLASSES)}
    found |= {f"slices with {name}": float((labels == c).any((1, 2)).mean()) for c, name in enumerate(CLASSES[:2])}
    return found | {"pixel AUC": pixel_auc(hu[labels == 0], hu[labels == 1]),
                    "ground glass at −300 HU or above": float((hu[labels == 0] >= -300).mean()),
                    "lowest and highest HU": (int(hu.min()), int(hu.max()))}


# ---- twins

def registered(hu, to, labels):
    "The labels of one slice, brought to where the other slice shows the same: boxes of the content first, then an affine registration."
    (y, x), (to_y, to_x) = content_box(hu), content_box(to)
    sy, sx = ((b.stop - b.start)/(t.stop - t.start) for b, t in ((y, to_y), (x, to_x)))
    start = np.array([[sx, 0, x.start - sx*to_x.start], [0, sy, y.start - sy*to_y.start]], np.float32)
    pictures = [h.clip(AIR, 400).astype(np.float32) for h in (to, hu)]
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-6)
    _, affine = cv2.findTransformECC(*pictures, start, cv2.MOTION_AFFINE, stop, None, 5)
    return cv2.warpAffine(labels, affine, labels.shape[::-1], flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, borderValue=BACKGROUND)


def twins(hu, labels, test_hu) -> dict:
    pairs = near_duplicates(hu if test_hu is None else np.concatenate([hu, test_hu]), top=4)
    name = lambda row: f"row {row}" if row < len(hu) else f"test row {row - len(hu)}"
    found = {f"similarity, pair {i + 1}": (f"{name(int(p['first']))} and {name(int(p['second']))}", float(p["similarity"])) for i, p in pairs.iterrows()}
    labeled = near_duplicates(hu, top=1).iloc[0]
    one, other = int(labeled["first"]), int(labeled["second"])
    both = iou(registered(hu[other], hu[one], labels[other]), labels[one])
    return found | {"IoU of the first labeled pair's masks": tuple(float(v) for v in both[:2])}


# ---- where lessons quote it

def cells(pattern: str) -> str:
    "Notebooks and cells whose source holds the pattern, saved outputs left out."
    found = []
    for path in sorted((ROOT/"nbs").glob("*.ipynb")):
        hits = [i for i, c in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]) if re.search(pattern, "".join(c["source"]))]
        found += [f"{path.stem.split('_')[0]} c{'+'.join(map(str, hits))}"]*bool(hits)
    found += [path.name for path in [*sorted((ROOT/"nbs").glob("*.qmd")), ROOT/"README.md"] if re.search(pattern, path.read_text(encoding="utf-8"))]
    return ", ".join(found) or "nowhere"


QUOTED = {      # figure: what lessons say, and how to find where
    "true lungs, no lesions: mIoU": (.43, r"\b0\.43\b[^.]{0,80}0\.(54|62)|without any lesion 0\.43"),
    "lungs found, −700 and −300 HU: mIoU": (.54, r"\b0\.54\b"),
    "true lungs, −700 and −300 HU: mIoU": (.62, r"0\.62\b(?!\d)"),
    "true lungs, −700 and −300 HU: interval": ((.56, .67), r"0\.56 to 0\.67"),
    "lungs found, thresholds searched on the other slices: lesion mIoU": (.24, r"about 0\.24|0\.24 \(`|0\.236"),
    "pixel AUC": (.83, r"AUC of 0\.83|in 83 % of pairs"), "pixel AUC, from the 25th on": (.88, r"real_auc|88 % in the 64"),
    "HU of ground_glass, 5 to 95 %": ((-822, -197), r"[−-]822"),
    "HU of consolidation, 5 to 95 %": ((-713, 188), r"[−-]713"),
    "HU of ground_glass, 5 to 95 %, from the 25th on": ((-815, -210), r"[−-]815"),
    "HU of consolidation, 5 to 95 %, from the 25th on": ((-581, 215), r"[−-]581"),
    "HU of lungs_other, 5 to 95 %, from the 25th on": ((-936, -308), r"[−-]936"),
    "area of ground_glass, from the 25th on": (.0465, r"\.0465"), "area of consolidation, from the 25th on": (.0211, r"\.0211"),
    "area of lungs_other, from the 25th on": (.1894, r"\.1894"), "area of background, from the 25th on": (.7430, r"\.7430"),
    "slices with ground_glass": (.98, r"0\.98 and 0\.81"), "slices with consolidation": (.81, r"0\.98 and 0\.81"),
    "similarity, pair 1": (.998, r"0\.998"), "similarity, pair 2": (.97, r"with 0\.97"),
    "IoU of the first labeled pair's masks": ((.25, .51), r"0\.25\b[^.]*0\.51")}


def text(value) -> str:
    if value is None: return "–"
    if isinstance(value, str): return value
    if isinstance(value, (tuple, list)): return ", ".join(map(text, value))
    return f"{value:d}".replace("-", "−") if isinstance(value, (int, np.integer)) else f"{value:.4f}" if abs(value) < .1 else f"{value:.3f}"


def agrees(computed, quoted) -> bool:
    "To the digits that are quoted, one unit of the last one to either side for HU."
    numbers = [v for v in (computed if isinstance(computed, tuple) else (computed,)) if not isinstance(v, str)]
    wanted = quoted if isinstance(quoted, tuple) else (quoted,)
    step = [1.01 if isinstance(w, int) else .51*10.**-len(str(w).partition(".")[2]) for w in wanted]
    return all(abs(n - w) <= s for n, w, s in zip(numbers, wanted, step))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("real", metavar="REAL", help="a folder in Kaggle's layout")
    p.add_argument("--all", action="store_true", help="do not compare with what lessons quote")
    a = p.parse_args()
    parts = {part.source: part for part in open_competition(a.real)}
    hu, labels = read(parts["medseg"])
    test_hu = read(parts["test_medseg"])[0] if "test_medseg" in parts else None
    found = {}
    for name, matrices in baselines(hu, labels).items():
        cm = ConfusionMatrix(matrices.sum(0))
        found |= {f"{name}: IoU": tuple(map(float, cm.iou())), f"{name}: mIoU": cm.miou(), f"{name}: lesion mIoU": cm.miou((0, 1)),
                  f"{name}: interval": bootstrap_interval(matrices)}
    later = statistics(hu[N_TEST:], labels[N_TEST:])
    found |= statistics(hu, labels) | twins(hu, labels, test_hu)
    found |= {key: value for name, value in later.items() if (key := f"{name}, from the 25th on") in QUOTED}
    print(f"{len(hu)} labeled slices, {0 if test_hu is None else len(test_hu)} test slices\n")
    print("| figure | computed | from the 25th on | lessons say | agree | in |\n|---|---|---|---|---|---|")
    for name, value in found.items():
        quoted, where = (None, None) if a.all or name not in QUOTED else QUOTED[name]
        verdict = "" if quoted is None else "yes" if agrees(value, quoted) else "**no**"
        print(f"| {name} | {text(value)} | {text(later.get(name))} | {text(quoted)} | {verdict} | {cells(where) if where else ''} |")


if __name__ == "__main__": main()
