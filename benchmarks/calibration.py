"""What class weights do to a network's probabilities: one U-Net, trained plainly and with balanced weights.

    python benchmarks/calibration.py            three seeds, about 8 minutes on one core
    python benchmarks/calibration.py --write    write covid_nbdev/tables/calibration.csv, too

Both networks of a seed start from the same weights and see the same minibatches; only the loss differs. Fixed before
training: skips.py's patients and recipe (192 to learn from, 40 fresh ones, 64 by 64, 15 epochs, the last weights are judged).
A third row needs no training: the weighted network's probabilities divided by the weights, and made to add up to 1 again.
`pixels_k`, `promised_k`, `kept_k`: the reliability curve of the pixels predicted as lesion, bin k of 10.
"""
import argparse

import numpy as np
import pandas as pd

from common import as_tensors, logits_of, patients, write_table
from covid_nbdev.evidence import reliability
from covid_nbdev.metrics import ConfusionMatrix
from covid_nbdev.model import balanced_weights
from covid_nbdev.unet import UNet
from skips import EPOCHS, FRESH, SIDE, train, TRAIN


def judge(logits, truth) -> dict:
    "Scores, calibration and its curve on fresh patients."
    probability, true = logits.softmax(1).numpy(), truth.numpy()
    pred = probability.argmax(1)
    cm, lesion, confidence, correct = ConfusionMatrix().update(pred, true), pred < 2, probability.max(1), pred == true
    every, lesions = reliability(confidence, correct), reliability(confidence[lesion], correct[lesion])
    found = (lesion & (true < 2)).sum()
    curve = {f"{name}_{k}": v for name, values in zip(("pixels", "promised", "kept"), (lesions.count, lesions.confidence, lesions.accuracy))
             for k, v in enumerate(values)}
    return dict(lesion_miou=cm.miou((0, 1)), ground_glass=cm.iou()[0], consolidation=cm.iou()[1], ece_all=every.ece, ece_lesion=lesions.ece,
                confidence=confidence[lesion].mean(), accuracy=correct[lesion].mean(), precision=found/lesion.sum(),
                recall=found/(true < 2).sum(), lesion_promised=probability[:, :2].sum(1).mean(), lesion_true=(true < 2).mean()) | curve


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    p.add_argument("--write", action="store_true", help="write what the package ships, too")
    a = p.parse_args()
    (images, truth), (fresh_images, fresh_truth) = (as_tensors(patients(seeds, SIDE)) for seeds in (TRAIN, FRESH))
    balanced = balanced_weights(np.bincount(truth.ravel(), minlength=4))
    print("balanced weights", balanced.tolist())
    rows = []
    for seed in a.seeds:
        for name, weight in (("none", None), ("balanced", balanced)):
            network, _ = train(UNet, seed, images, truth, weight)
            logits = logits_of(network, fresh_images)
            rows.append(dict(weights=name, seed=seed) | judge(logits, fresh_truth))
            if weight is not None:      # a logit is the logarithm of a probability, but for a constant
                rows.append(dict(weights="balanced, undone", seed=seed) | judge(logits - weight.log()[:, None, None], fresh_truth))
            print(pd.DataFrame(rows).iloc[:, :13].round(3).to_string(), flush=True)
    if a.write:
        weights = ", ".join(f"{w:.3f}" for w in balanced.tolist())
        write_table("calibration.csv", f"calibration.py, seeds {a.seeds}, {EPOCHS} epochs of {len(TRAIN)} slices of {SIDE}x{SIDE}, weights {weights}", rows)


if __name__ == "__main__": main()
