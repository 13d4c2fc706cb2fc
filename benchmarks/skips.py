"""What skip connections bring: one U-Net as it is, and the same one whose decoder gets zeros in their place.

    python benchmarks/skips.py            three seeds, about 8 minutes on one core
    python benchmarks/skips.py --write    write covid_nbdev/tables/skips.csv, too

Zeros keep every shape and every parameter: both networks of a seed start from the same weights and see the same minibatches.
Fixed before training: patients 0 to 191 to learn from and 1000 to 1039 fresh ones, 64 by 64, in MedSeg's style;
15 epochs of 24 minibatches of 8, Adam under a one-cycle schedule, cross-entropy. The last weights are judged. A pixel lies at
a border if its 3 by 3 neighborhood holds two classes of the truth.
"""
import argparse

import cv2
import numpy as np
import pandas as pd
import torch
from torch.nn.functional import max_pool2d

from common import as_tensors, logits_of, patients, train_epoch, write_table
from covid_nbdev.core import progress_bar
from covid_nbdev.metrics import ConfusionMatrix
from covid_nbdev.unet import UNet

TRAIN, FRESH, SIDE = range(192), range(1000, 1040), 64
EPOCHS, BATCH, LR = 15, 8, 5e-3


class WithoutSkips(UNet):
    "UNet's forward, with one line changed."
    def forward(self, x):
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(torch.zeros_like(x))          # what was kept is forgotten
            x = max_pool2d(x, 2)
        x = self.bottom(x)
        for raised, up in zip(self.raised, self.up): x = up(torch.cat([raised(x), skips.pop()], dim=1))
        return self.classify(x)


def train(kind, seed: int, images, truth, weight=None):
    "The trained network and the mean loss of its last epoch."
    torch.manual_seed(seed)
    network = kind(upsample="nearest").to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LR, total_steps=EPOCHS*len(images)//BATCH)
    for _ in progress_bar(range(EPOCHS), desc=f"{kind.__name__}, seed {seed}", unit="epoch"):
        losses = train_epoch(network, optimizer, schedule, images, truth, BATCH, weight)
    return network, float(np.mean(losses))


def at_border(labels) -> np.ndarray:
    "bool (H, W): where the 3 by 3 neighborhood holds more than one class."
    three = np.ones((3, 3), np.uint8)
    return cv2.dilate(labels, three) != cv2.erode(labels, three)


def judge(network, images, truth) -> dict:
    "Scores on fresh patients."
    predicted = logits_of(network, images).argmax(1).numpy()
    true = truth.numpy().astype(np.uint8)
    counts, border = ConfusionMatrix().update(predicted, true), np.stack([at_border(labels) for labels in true])
    iou, wrong = counts.iou(), predicted != true
    return dict(lesion_miou=counts.miou((0, 1)), ground_glass=iou[0], consolidation=iou[1], lungs_other=iou[2], background=iou[3],
                wrong_at_border=wrong[border].mean(), wrong_elsewhere=wrong[~border].mean(), border_share=border.mean())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    p.add_argument("--write", action="store_true", help="write the table that the package ships, too: all seeds")
    a = p.parse_args()
    learn, fresh, rows = as_tensors(patients(TRAIN, SIDE)), as_tensors(patients(FRESH, SIDE)), []
    for seed in a.seeds:
        for name, kind in (("with", UNet), ("without", WithoutSkips)):
            network, loss = train(kind, seed, *learn)
            rows.append(dict(skips=name, seed=seed, train_loss=loss, **judge(network, *fresh)))
            print(pd.DataFrame(rows[-1:]).round(4).to_string(index=False), flush=True)
    if a.write:
        write_table("skips.csv", f"skips.py, seeds {a.seeds}, {EPOCHS} epochs of {len(TRAIN)} slices of {SIDE}x{SIDE}", rows)


if __name__ == "__main__": main()
