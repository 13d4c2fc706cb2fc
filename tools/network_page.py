"""The page "The network under your fingers": its figure, with the book's weights as 16-bit floats.

    python tools/network_page.py FOLDER      fill the page in FOLDER (network.html); tools/docs.py does it after each build

What is large, weights and patients, goes into a script beside the page, network_figure.js: pages open from a disk may load
scripts, but no other files. Nothing of it is committed: it is made of covid_nbdev/book.safetensors each time.
"""
import json, re, sys
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from safetensors.numpy import load

from covid_nbdev.hu import window, WINDOWS
from covid_nbdev.masks import CLASS_COLORS, CLASSES, mask_overlay
from covid_nbdev.phantom import make_slice
from covid_nbdev.play import pack, Playable, playable

SIDE, SEEDS = 128, range(1000, 1008)     # the first eight of the forty fresh patients, whatever their score
BLOCKS = ("down.0", "down.1", "down.2", "bottom", "up.0", "up.1", "up.2")
# What the brush paints: how much of the air is replaced, and what the truth is there. (0 erases.)
KINDS = [None, {"name": "haze", "share": .45, "label": 0}, {"name": "dense tissue", "share": .95, "label": 1},
         {"name": "vessel or scar", "share": .95, "label": 2}]
HAZE, DENSE, VESSEL = 1, 2, 3
# Each is checked by tests/test_play_network.py: strokes are (kind, radius, points), places in pixels from the top left.
EXAMPLES = [
    {"name": "Haze", "seed": 1005, "set": {}, "strokes": [(HAZE, 10, [(36, 56)])],
     "see": "Haze painted into a healthy lung: the network calls more than four fifths of it ground glass."},
    {"name": "A dense spot", "seed": 1005, "set": {}, "strokes": [(DENSE, 5, [(36, 56)])],
     "see": "Truth: consolidation. The network calls most of this smooth, dense spot background, as it calls the heart: a miss."},
    {"name": "A thin vessel", "seed": 1006, "set": {}, "strokes": [(VESSEL, 1, [(87, 65), (101, 85)])],
     "see": "A thin bright line, two pixels wide: the network leaves nearly all of it to the lung, as a vessel should be."},
    {"name": "A thick vessel", "seed": 1006, "set": {}, "strokes": [(VESSEL, 2, [(87, 65), (101, 85)])],
     "see": "The same line, twice as wide, and still a vessel: now the network calls most of it consolidation. A false alarm."},
    {"name": "A scar", "seed": 1005, "set": {}, "strokes": [(VESSEL, 2.5, [(87, 79), (97, 75), (107, 81)])],
     "see": "A scar is dense and old: no COVID-19. The network calls nearly all of it consolidation. From one slice it can't know."},
    {"name": "Upside down", "seed": 1000, "set": {"turned": "upside down"}, "strokes": [],
     "see": "Nearly as good as upright (Dice 0.81; upright 0.80), though no slice in its training was turned: it "
            "hardly asks where the front is."},
    {"name": "HU by mistake", "seed": 1000, "set": {"fed": "raw"}, "strokes": [],
     "see": "Fed with HU themselves, the network finds no lesion at all in this patient, and gives no error."},
    {"name": "HU + 1024", "seed": 1000, "set": {"fed": "offset"}, "strokes": [],
     "see": "Values 1024 too high, as many files store them: the lungs turn white, and the network finds no lung at all."},
    {"name": "Gray up to 255", "seed": 1005, "set": {"fed": "bytes"}, "strokes": [],
     "see": "Forgotten to divide by 255: the network calls more than four times as many pixels lesion as there are."},
    {"name": "Noise", "seed": 1005, "set": {"noise": 100}, "strokes": [],
     "see": "Noise of 100 HU: the network calls the heart consolidation, and the air around the body lung."},
    {"name": "Another window", "seed": 1005, "set": {"level": 40, "width": 400}, "strokes": [],
     "see": "In the window for the mediastinum the lungs are black, for you and for the network: it finds hardly any of them, "
            "and calls the heart ground glass."},
]
CAPTION = ("The book's network, {weights:,} weights of 16 bits, on computed patients that it was never trained on. The brush paints in the "
           "lungs alone, with mouse, finger or keyboard (arrows move it, Space lowers and lifts it). R, L: the patient's right and left. "
           "Not for diagnosis.")


@cache
def layers() -> list[np.ndarray]:
    "Weight (O, C, k, k) and bias (O,) of each convolution in turn, float16, batch normalization folded in."
    state = load((files("covid_nbdev")/"book.safetensors").read_bytes())
    found = []
    for block in BLOCKS:
        for conv, norm in ((f"{block}.0", f"{block}.1"), (f"{block}.3", f"{block}.4")):
            # (conv - mean)/deviation*weight + bias = conv*factor + (bias - mean*factor): the factor goes into the filter
            factor = state[f"{norm}.weight"]/np.sqrt(state[f"{norm}.running_var"] + 1e-5)
            found += [state[f"{conv}.weight"]*factor[:, None, None, None], state[f"{norm}.bias"] - state[f"{norm}.running_mean"]*factor]
    found += [state["classify.weight"], state["classify.bias"]]
    return [part.astype(np.float16) for part in found]


@cache
def patients() -> tuple[np.ndarray, np.ndarray]:
    "HU and the reader's labels (8, 128, 128)."
    return tuple(np.stack(one) for one in zip(*(make_slice(seed, SIDE) for seed in SEEDS)))


@cache
def figure() -> Playable:
    "The figure in one piece, for a page or a notebook."
    parts, (hu, truth) = layers(), patients()
    weights = np.concatenate([part.ravel() for part in parts])
    data = {"side": SIDE, "seeds": list(SEEDS), "classes": CLASSES, "tools": KINDS, "tissue_hu": 40, "examples": EXAMPLES,
            "colors": [[int(color[i:i + 2], 16) for i in (1, 3, 5)] for color in CLASS_COLORS.values()],
            "shapes": [part.shape[:3] for part in parts[::2]], "hu": pack(hu), "truth": pack(truth),
            "weights": pack(weights.view(np.uint16))}
    gray = np.repeat(window(hu[0], *WINDOWS["lung"])[..., None], 3, axis=-1)
    still = np.rint(255*np.hstack([gray, mask_overlay(hu[0], truth[0])]))
    return playable("network", data, still, "A computed slice of the chest, and the same slice with its true lesions in color.",
                    CAPTION.format(weights=weights.size))


def in_two() -> tuple[str, str]:
    "The figure's HTML, small, and the script beside the page."
    html, code, end = re.fullmatch(r"(.*)<script>(\(\(\) => .*)</script>(\s*</figure>)", figure(), re.S).groups()
    numbers = re.search(r'<script type="application/json">(.*?)</script>', html, re.S)[1]
    html = html.replace(numbers, "{}") + '<script src="network_figure.js" defer></script>' + end
    fill = """document.querySelector('figure[data-covid-play="network"] script[type="application/json"]').textContent = """
    return html, f"{fill}{json.dumps(numbers)};\n{code}\n"


def write(folder: Path):
    "Put the figure into the page that holds a place for it, and its script beside the page."
    page, (html, script) = folder/"network.html", in_two()
    text = page.read_text(encoding="utf-8")
    if text.count(PLACE) != 1: raise ValueError(f"found {text.count(PLACE)} places for the figure in {page.name}; expected one: {PLACE}")
    page.write_text(text.replace(PLACE, html), encoding="utf-8")
    (folder/"network_figure.js").write_text(script, encoding="utf-8")


PLACE = '<div id="network-figure"></div>'

if __name__ == "__main__": write(Path(sys.argv[1]))
