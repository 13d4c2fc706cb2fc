"""The book's network in a page (tools/network_page.py): in chromium it says what torch says, and its examples show what they promise."""
import base64, json, re, zlib

import numpy as np
import pytest
import torch

import network_page
from conftest import ROOT
from covid_nbdev.hu import window
from covid_nbdev.metrics import dice
from covid_nbdev.phantom import make_slice
from covid_nbdev.play import pack
from covid_nbdev.unet import book_network, UNet
from test_play import grave_faults, page_of      # noqa: F401 (a fixture)

SCRIPT = (ROOT/"covid_nbdev"/"play"/"network.js").read_text(encoding="utf-8")
PROSE = (ROOT/"nbs"/"network.qmd").read_text(encoding="utf-8")
ARRAYS = {"input": np.float32, "logits": np.float32, "labels": np.uint8, "truth": np.uint8, "painted": np.uint8}
ANSWER = """names => Object.fromEntries(names.map(name => {
    const bytes = new Uint8Array(said[name].buffer, said[name].byteOffset, said[name].byteLength), text = [];
    for (let at = 0; at < bytes.length; at += 4096) text.push(String.fromCharCode(...bytes.subarray(at, at + 4096)));
    return [name, btoa(text.join(""))]; }))"""


@pytest.fixture(scope="module")
def rounded():
    "torch's network with the page's weights: batch normalization is folded in, so it does nothing here but add the bias."
    network, parts = UNet(upsample="nearest"), iter(torch.from_numpy(part.astype(np.float32)) for part in network_page.layers())
    state = network.state_dict()
    for block in network_page.BLOCKS:
        for conv, norm in ((f"{block}.0", f"{block}.1"), (f"{block}.3", f"{block}.4")):
            state[f"{conv}.weight"], state[f"{norm}.bias"] = next(parts), next(parts)
            state[f"{norm}.running_var"][:] = 1 - 1e-5
    state["classify.weight"], state["classify.bias"] = parts
    network.load_state_dict(state)
    return network.eval()


@pytest.fixture(scope="module")
def patients():
    hu, truth = network_page.patients()
    assert (np.stack(make_slice(1003, 128)) == [hu[3], truth[3]]).all()
    return hu, truth


@torch.no_grad()
def logits_of(network, gray) -> np.ndarray: return network(torch.from_numpy(np.array(gray, np.float32))[:, None]).numpy()


def shown(page, *names) -> dict:
    "Arrays that the figure told of."
    arrays = {k: np.frombuffer(base64.b64decode(v), ARRAYS[k]).reshape(-1, network_page.SIDE, network_page.SIDE)
              for k, v in page.evaluate(ANSWER, list(names)).items()}
    return {k: v if k == "logits" else v[0] for k, v in arrays.items()}


def settled(page, passes=0) -> dict:
    "What the figure told when no pass is running any more."
    page.wait_for_function(f"said.settled && said.passes > {passes}")
    return shown(page, *ARRAYS) | page.evaluate("({passes: said.passes, seconds: said.milliseconds/1000})")


def lesion_dice(labels, truth) -> float: return dice((np.asarray(labels) < 2).astype(int), (np.asarray(truth) < 2).astype(int))[1]


# ---- what the sentences say
y, x = np.mgrid[:network_page.SIDE, :network_page.SIDE]
HEART = (x - 64)**2 + (y - 62)**2 < 100          # of patient 1005
def called(now, label, where=None): return (now["labels"][now["painted"] > 0 if where is None else where] == label).mean()
def drawn_as(now, label): return (now["truth"][now["painted"] > 0] == label).all() and now["painted"].any()
def lung(now): return now["truth"] < 3

TRUE = {
    "Haze": lambda now: called(now, 0) > .8 and drawn_as(now, 0),
    "A dense spot": lambda now: called(now, 3) > .5 and drawn_as(now, 1) and called(now, 3, HEART) > .95,
    "A thin vessel": lambda now: called(now, 2) > .85 and drawn_as(now, 2),
    "A thick vessel": lambda now: called(now, 1) > .5 and drawn_as(now, 2),
    "A scar": lambda now: called(now, 1) > .9 and drawn_as(now, 2),
    "Upside down": lambda now: f"(Dice {lesion_dice(now['labels'], now['truth']):.2f}; upright " in now["see"],
    "HU by mistake": lambda now: (now["labels"] >= 2).all() and now["input"].min() < -900,
    "HU + 1024": lambda now: (now["labels"] == 3).all() and now["input"][lung(now)].mean() > .95,
    "Gray up to 255": lambda now: (now["labels"] < 2).sum() > 4*(now["truth"] < 2).sum() and now["input"].max() == 255,
    "Noise": lambda now: called(now, 1, HEART) > .9 and called(now, 2, y < 20) > .9,
    "Another window": lambda now: (now["labels"] < 3)[lung(now)].mean() < .1 and np.median(now["input"][lung(now)]) == 0
    and called(now, 0, HEART) > .8}


def test_it_says_what_torch_says_and_the_sentences_are_true(page_of, rounded, patients):      # noqa: F811
    "Logits within 0.001, for several patients, painted, and for numbers that no network should get. For the sentences torch answers."
    page, cases, found = page_of(network_page.figure()), {}, []
    found.append(settled(page))
    assert np.abs(found[0]["input"] - window(patients[0][0], -600, 1500)).max() < 1e-6 and (found[0]["truth"] == patients[1][0]).all()
    awaited = "A thick vessel", "Gray up to 255"      # first, so that no pass for another example is running
    for example in sorted(network_page.EXAMPLES, key=lambda example: example["name"] not in awaited):
        name, sentence = example["name"], example["see"]
        page.get_by_role("button", name=name, exact=True).click()
        assert sentence in page.locator("figure").inner_text()
        cases[name] = shown(page, "input", "truth", "painted") | {"see": sentence}
        if name in awaited: found.append(settled(page, found[-1]["passes"]) | {"name": name})
    assert all((now["input"] == cases[now["name"]]["input"]).all() for now in found[1:]) and len(found) == 3
    for case, logits in zip(cases.values(), logits_of(rounded, np.stack([case["input"] for case in cases.values()]))):
        case["labels"], case["logits"] = logits.argmax(0), logits
    assert [name for name, case in cases.items() if not TRUE[name](case)] == [] and set(TRUE) == set(cases)
    assert 1.8 < (cases["A thick vessel"]["painted"] > 0).sum()/(cases["A thin vessel"]["painted"] > 0).sum() < 2.2
    for now in found:
        expected = cases[now["name"]]["logits"] if "name" in now else logits_of(rounded, now["input"][None])[0]
        most = np.abs(expected).max()      # gray up to 255: logits of hundreds, where 32 bits have no thousandths
        assert np.abs(now["logits"] - expected).max() < (1e-3 if most < 20 else 1e-5*most)
        assert (now["labels"] == now["logits"].argmax(0)).all()
    assert np.median([now["seconds"] for now in found]) < 4      # 0.55 on a slow core of its own; tests share it


def test_sixteen_bits_and_the_page_tell_the_truth(rounded, patients):
    "The weights are those of book.safetensors; what the page says of the rounding, of eight patients upside down, and of its script."
    data = json.loads(re.search(r'json">(.*?)</script>', network_page.figure(), re.S)[1])
    raw = np.frombuffer(zlib.decompress(base64.b64decode(data["weights"])), np.uint8).reshape(2, -1)
    weights = (raw[0] | raw[1].astype(np.uint16) << 8).view(np.float16)
    assert (weights == np.concatenate([part.ravel() for part in network_page.layers()])).all() and data["hu"] == pack(patients[0])
    gray, truth = window(patients[0], -600, 1500), patients[1]
    full, half = logits_of(book_network(), gray), logits_of(rounded, gray)
    assert np.abs(full - half).max() < .02 and (full.argmax(1) != half.argmax(1)).mean() < 1e-3
    assert -5.5 < full.min() < -4.5 and 5.5 < full.max() < 6.5
    assert f"upright {lesion_dice(half[0].argmax(0), truth[0]):.2f})" in str(network_page.EXAMPLES)
    upended = logits_of(rounded, gray[:, ::-1]).argmax(1)
    means = [np.mean([lesion_dice(*pair) for pair in zip(*both)]) for both in ((half.argmax(1), truth), (upended, truth[:, ::-1]))]
    assert "the mean Dice of the eight patients falls from {:.2f} to {:.2f}".format(*means) in PROSE
    sides = np.repeat([128, 64, 32, 16, 32, 64, 128], 2)
    products = sum(part.size*side**2 for part, side in zip(network_page.layers()[::2], sides))
    lines = SCRIPT[SCRIPT.index("// 16-bit floats"):SCRIPT.index("// Gives the page a turn")].splitlines()
    assert f"for {products/1e6:.0f} million products" in PROSE and f"in {round(sum(map(bool, lines)), -1)} lines" in PROSE
    excerpt = re.search(r"```javascript\n(.*?)```", PROSE, re.S)[1].splitlines()
    assert "\n".join(line.strip() for line in excerpt) in "\n".join(line.strip() for line in SCRIPT.splitlines())


def test_the_page_from_a_disk_on_a_phone(browser, tmp_path):
    "By touch and keyboard, dark, without motion; the page stays alive while it computes."
    html, script = network_page.in_two()
    assert len(html) < 60_000 and len(script) < 1_400_000
    assert not re.search(r"https?://(?!www\.w3\.org)|\bfetch\(|\beval\(", html + script)
    page_file = tmp_path/"network.html"
    page_file.write_text('<!doctype html><html lang="en"><meta charset="utf-8"><title>x</title>'
                         '<meta name="viewport" content="width=device-width"><script>window.said = {};'
                         'document.addEventListener("covid-play", event => { window.said = event.detail })</script>'
                         f'<body style="background: #12181f; color: #e4e9ee"><main><h1>x</h1>{network_page.PLACE}</main>')
    network_page.write(tmp_path)
    with pytest.raises(ValueError, match="0 places"): network_page.write(tmp_path)
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True, color_scheme="dark", reduced_motion="reduce")
    page, wrong = context.new_page(), []
    page.on("console", lambda m: wrong.append(m.text))
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else wrong.append(r.url))
    page.goto(page_file.as_uri())
    first = settled(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    paper = page.locator("canvas").first
    box = paper.bounding_box()
    paper.tap(position={"x": 98.5/128*box["width"], "y": 58.5/128*box["height"]})
    touched = shown(page, "input", "truth", "painted")
    assert touched["painted"][58, 98] == network_page.HAZE and touched["truth"][58, 98] == 0
    page.get_by_role("radio", name="dense tissue").focus(); page.keyboard.press("Space")
    page.get_by_role("radio", name="mirrored").focus(); page.keyboard.press("Space")
    mirrored = shown(page, "input", "truth")
    assert (mirrored["truth"][:, ::-1] == touched["truth"]).all() and (mirrored["input"][:, ::-1] == touched["input"]).all()
    paper.focus()
    for key in ("Shift+ArrowUp", "Space", "ArrowDown", "Space"): page.keyboard.press(key)     # mirrored in the patient
    turns = page.evaluate("""async passes => {
        let turns = 0;
        for (; !(said.settled && said.passes > passes); turns++) await new Promise(done => setTimeout(done));
        return turns; }""", first["passes"] + 1)
    drawn = settled(page)
    assert (drawn["logits"] != first["logits"]).any() and turns > 5       # the page lives while the network computes
    assert set(drawn["painted"][50:52, 29]) == {network_page.DENSE} and set(drawn["truth"][50:52, 98]) == {1}
    before = page.locator("canvas").last.evaluate("c => c.toDataURL()")
    page.get_by_role("button", name="bottom: 128 maps of 16 × 16").focus(); page.keyboard.press("Enter")
    assert "The first 16 of 128 maps" in page.locator("figure").inner_text()
    assert page.locator("canvas").last.evaluate("c => c.toDataURL()") != before
    assert wrong == [] and grave_faults(page) == []
    context.close()
