"""Learning by heart, measured: few slices against many, and each cure alone, on computed patients of 64 by 64 pixels.

    python benchmarks/overfit.py                    what is missing in the tables, about 12 minutes on one core
    python benchmarks/overfit.py --arms 24 --seeds 0 --dry    one training again, printed beside what is shipped

Everything is fixed before training: the patients (seeds 0 to 191 to learn from, 2000 to 2023 to validate, 1000 to 1039 fresh
ones that decide nothing), 320 steps of 8 slices, Adam at the constant rate 2e-3, three seeds, a U-Net of width 8 (the book's
has 16: all of this would take three times as long). An arm differs from the arm `24` in one thing. Writes
covid_nbdev/tables/overfit_curves.csv (every 20 steps) after each training, so that it can be stopped and started again, and
from it overfit.csv (one row a training: its last step, and the step that early stopping keeps).
"""
import argparse, time

import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from common import as_tensors, logits_of, patients, TABLES, train_step, write_table
from covid_nbdev.augment import seed_transforms, train_transforms
from covid_nbdev.metrics import ConfusionMatrix
from covid_nbdev.unet import UNet

LEARN, VALID, FRESH, SIDE = range(192), range(2000, 2024), range(1000, 1040), 64
STEPS, EVERY, BATCH, LR, OWN = 320, 20, 8, 2e-3, 24      # OWN: at most so many of the training slices are scored
WIDTH, PATIENCE = 8, 7                                # PATIENCE: the deck's, in looks at the validation loss
ARMS = {"8": dict(slices=8), "192": dict(slices=192), "24": dict(slices=24), "augmentation": dict(slices=24, augment=True),
        "weight decay": dict(slices=24, decay=1.), "width 4": dict(slices=24, width=4), "48": dict(slices=48), "96": dict(slices=96)}


def batches(slices: list, seed: int, augment: bool):
    "Endless: shuffled anew in each epoch; with `augment`, moved, turned and cropped anew each time."
    transforms, order, step = train_transforms(SIDE, SIDE), [], 0
    while True:
        while len(order) < BATCH: order += torch.randperm(len(slices)).tolist()
        rows, order = order[:BATCH], order[BATCH:]
        chosen = [slices[i] for i in rows]
        if augment:
            moved = []
            for place, (hu, labels) in enumerate(chosen):
                seed_transforms(transforms, seed, step, place)
                moved.append(transforms(image=hu, mask=labels))
            chosen = [(m["image"], m["mask"]) for m in moved]
        step += 1
        yield as_tensors(chosen)


def scores(network, name: str, images, truth) -> dict:
    logits = logits_of(network, images)
    return {f"{name}_loss": cross_entropy(logits, truth).item(),
            f"{name}_lesion_miou": ConfusionMatrix().update(logits.argmax(1), truth).miou((0, 1))}


def train(arm: str, seed: int, learn: list, judged: dict, steps=STEPS) -> list[dict]:
    "One training; its curves. What the network scores on `judged` decides nothing here."
    how = dict(augment=False, decay=0., width=WIDTH) | ARMS[arm]
    torch.manual_seed(seed)
    network = UNet(upsample="nearest", width=how["width"]).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LR, weight_decay=how["decay"])      # without decay: Adam
    slices, curves = learn[:how["slices"]], []
    judged = {"own": as_tensors(slices[:OWN])} | judged
    for step, (images, truth) in zip(range(1, steps + 1), batches(slices, seed, how["augment"])):
        network.train()
        loss = train_step(network, optimizer, images, truth)
        if step % EVERY == 0:
            row = dict(arm=arm, slices=how["slices"], seed=seed, step=step, epochs=step*BATCH/how["slices"], batch_loss=loss)
            for name, pair in judged.items(): row |= scores(network, name, *pair)
            curves.append(row)
    return curves


def early_stop(losses, patience=PATIENCE) -> tuple[int, int]:
    "Places of the look that is kept and of the one at which training stops."
    best = 0
    for now, loss in enumerate(losses):
        if loss < losses[best]: best = now
        if now - best == patience: break
    return best, now


def summary(curves: pd.DataFrame) -> pd.DataFrame:
    "One row a training: the last look, and what early stopping would have kept."
    rows = []
    for (arm, seed), c in curves.groupby(["arm", "seed"], sort=False):
        c = c.sort_values("step").reset_index(drop=True)
        kept, stopped = early_stop(c.valid_loss.to_list())
        last = c.iloc[-1].drop(["step", "epochs", "batch_loss"]).to_dict()
        early = dict(kept_step=c.step[kept], stopped_step=c.step[stopped])
        early |= {f"kept_{k}": c[k][kept] for k in ("own_lesion_miou", "valid_loss", "fresh_loss", "fresh_lesion_miou")}
        rows.append(last | early)
    return pd.DataFrame(rows)


def write(name: str, table: pd.DataFrame):
    write_table(name, f"overfit.py, seeds {sorted(table.seed.unique().tolist())}, {STEPS} steps", table)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    p.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    p.add_argument("--dry", action="store_true", help="train again what is asked, and write nothing")
    a = p.parse_args()
    torch.set_num_threads(1)                             # the same numbers, however many cores there are
    path = TABLES/"overfit_curves.csv"
    shipped = pd.read_csv(path, comment="#", dtype={"arm": str}) if path.exists() else pd.DataFrame(columns=["arm", "seed"])
    done = set(zip(shipped.arm, shipped.seed))
    learn = patients(LEARN, SIDE)
    judged = {"valid": as_tensors(patients(VALID, SIDE)), "fresh": as_tensors(patients(FRESH, SIDE))}
    for seed in a.seeds:
        for arm in a.arms:
            if (arm, seed) in done and not a.dry: continue
            start = time.perf_counter()
            curves = train(arm, seed, learn, judged)
            last = curves[-1]
            print(f"{arm:13} seed {seed}: own {last['own_loss']:.3f} {last['own_lesion_miou']:.3f}, fresh {last['fresh_loss']:.3f} "
                  f"{last['fresh_lesion_miou']:.3f}; {time.perf_counter() - start:.0f} s", flush=True)
            if a.dry: continue
            new = pd.DataFrame(curves)
            shipped = pd.concat([shipped, new], ignore_index=True) if len(shipped) else new
            write("overfit_curves.csv", shipped)
            write("overfit.csv", summary(shipped))


if __name__ == "__main__": main()
