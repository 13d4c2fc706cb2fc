"""What skip connections bring: one U-Net as it is, and the same one whose decoder gets zeros in their place.

    python benchmarks/skips.py            three seeds, about 8 minutes on one core
    python benchmarks/skips.py --write    write covid_nbdev/tables/skips.csv, too

Zeros keep every shape and every parameter: both networks of a seed start from the same weights and see the same minibatches.
Fixed before training: patients 0 to 191 to learn from and 1000 to 1039 fresh ones, 64 by 64, in MedSeg's style;
15 epochs of 24 minibatches of 8, Adam under a one-cycle schedule, cross-entropy. The last weights are judged. A pixel lies at
a border if its 3 by 3 neighborhood holds two classes of the truth.
"""
import argparse, time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy, max_pool2d

from covid_nbdev.core import atomic_file, progress_bar
from covid_nbdev.hu import window
from covid_nbdev.metrics import ConfusionMatrix
from covid_nbdev.phantom import make_slice, PHANTOM_VERSION
from covid_nbdev.unet import UNet

TABLE = Path(__file__).resolve().parent.parent/"covid_nbdev"/"tables"/"skips.csv"
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


def as_tensors(seeds):
    slices = [make_slice(seed, SIDE, style="medseg") for seed in seeds]
    images = np.stack([window(hu, -600, 1500) for hu, _ in slices])
    return torch.from_numpy(images)[:, None], torch.from_numpy(np.stack([labels for _, labels in slices])).long()


def train(kind, seed: int, images, truth):
    "The trained network and the mean loss of its last epoch."
    torch.manual_seed(seed)
    network = kind(upsample="nearest").to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LR, total_steps=EPOCHS*len(images)//BATCH)
    for _ in progress_bar(range(EPOCHS), desc=f"{kind.__name__}, seed {seed}", unit="epoch"):
        losses = []
        for rows in torch.randperm(len(images)).split(BATCH):
            loss = cross_entropy(network(images[rows]), truth[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return network.eval(), float(np.mean(losses))


def at_border(labels) -> np.ndarray:
    "bool (H, W): where the 3 by 3 neighborhood holds more than one class."
    three = np.ones((3, 3), np.uint8)
    return cv2.dilate(labels, three) != cv2.erode(labels, three)


@torch.no_grad()
def judge(network, images, truth) -> dict:
    "Scores on fresh patients."
    predicted = torch.cat([network(batch) for batch in images.split(BATCH)]).argmax(1).numpy()
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
    learn, fresh, rows = as_tensors(TRAIN), as_tensors(FRESH), []
    for seed in a.seeds:
        for name, kind in (("with", UNet), ("without", WithoutSkips)):
            network, loss = train(kind, seed, *learn)
            rows.append(dict(skips=name, seed=seed, train_loss=loss, **judge(network, *fresh)))
            print(pd.DataFrame(rows[-1:]).round(4).to_string(index=False), flush=True)
    if a.write:
        TABLE.parent.mkdir(exist_ok=True)
        head = (f"# benchmarks/skips.py, seeds {a.seeds}, {EPOCHS} epochs of {len(TRAIN)} slices of {SIDE}x{SIDE}, phantom version "
                f"{PHANTOM_VERSION}\n# {time.strftime('%Y-%m-%d')}\n")
        with atomic_file(TABLE) as tmp: Path(tmp).write_text(head + pd.DataFrame(rows).round(4).to_csv(index=False), encoding="utf-8")


if __name__ == "__main__": main()
