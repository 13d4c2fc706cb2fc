"""Commands: every option with a value that isn't its default; calls from Python; texts whatever the machine's letters."""
import argparse, ast, inspect, io, json, locale, os, re, shutil, subprocess, sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch

import covid_nbdev.cli as c
from conftest import ROOT
from covid_nbdev.core import BadInput
from covid_nbdev.outputs import _arguments, _plain_words, command
from covid_nbdev.phantom import make_volume
from covid_nbdev.scans import write_dicom_series
from test_demo import instant, quick     # fixtures

COMMANDS = [name for name in c.__all__ if name.startswith("covid_")]


def kept_values(folder, **values) -> bool:
    "Has the kernel's notebook these settings?"
    text = next(folder.glob("*.ipynb")).read_text(encoding="utf-8")
    values = {name: None if (name, value) == ("weights", "none") else value for name, value in values.items()}
    return all(f"{name.upper()} = {value!r}".replace('"', "'") in text.replace('\\"', "'") for name, value in values.items())


# ---- every option, tried

# Valid values that aren't the default; True for a flag. FILE is a file of weights of efficientnet-b0's encoder.
FILE = "weights.safetensors"
VALUES = {
    "covid_phantom": dict(n_radiopaedia=[2, 0], n_medseg=[2], n_test=[2], size=[96], seed=[1], labels=["truth"]),
    "covid_etl": dict(download=[True]),
    "covid_train": dict(
        epochs=[1, 100], batch_size=[4], size=[32, 96], crop_size=[32], lr=["3e-4", 1], encoder=["efficientnet-b0", "resnet18", "lite2"],
        weights=["none", "phantom", FILE], upsample=["nearest"], patience=[1], best=["lesion_miou", "last"], seed=[0], workers=[2], rotate=[180, 0, 7.5], jitter=[.15],
        loss=["ce+dice"], class_weights=["balanced", "none"], precision=["fp32", "bf16"], accumulate=[3], tta=[True], gpus=[2, 0], device=["cpu"],
        resume=[True], force=[True]),
    "covid_predict": dict(series=[2], dicom_seg=[True], tta=[True], min_px=[5]),
    "covid_submission": dict(tta=[True], min_px=[5], submit=[True], message=["a note"]),
    "covid_deid": dict(shift_dates=[True], key=["key.json"], keep_secondary=[True], keep_patient_characteristics=[True]),
    "covid_kernel": dict(user=["ana"], accelerator=["NvidiaL4"], weights=[FILE, "phantom", "none"], lite=[True], go_on=[True], encoder=["efficientnet-b0"],
                         epochs=[3], size=[512], batch_size=[8], hours=[9, 0.5], push=[True], force=[True]),
    "covid_demo": dict(run=["mine"])}
OPTIONS = [(name, option) for name in COMMANDS for option, p in inspect.signature(getattr(c, name)).parameters.items()
           if p.default is not p.empty]
CASES = [(name, option, value) for name, option in OPTIONS for value in VALUES.get(name, {}).get(option, ["no value listed"])]


def words(option, value, dash="_") -> list:
    return [f"--{option.replace('_', dash)}"] + ([] if value is True else [str(value)])


@pytest.mark.parametrize("name, option", OPTIONS)
def test_every_option_has_values(name, option, monkeypatch):
    "Listed above, none of them the default; and both ways of writing it arrive."
    default = inspect.signature(getattr(c, name)).parameters[option].default
    assert VALUES[name].get(option), f"list a value for --{option} of {name}"
    needed = [p.name for p in inspect.signature(getattr(c, name)).parameters.values() if p.default is p.empty]
    for value in VALUES[name][option]:
        assert value != default
        for dash in "_-":
            monkeypatch.setattr(sys, "argv", [name, *needed, *words(option, value, dash)])
            assert str(_arguments(getattr(c, name).__wrapped__, "")[option]) in (str(value), str(float(value)) if isinstance(value, (int, float)) else value.replace("3e-4", "0.0003"))


@pytest.fixture
def trained(monkeypatch):
    "covid_train that trains nothing: what the training would have been called with."
    import covid_nbdev.pretrain, covid_nbdev.report, covid_nbdev.results, covid_nbdev.run, covid_nbdev.train
    calls = []
    def train(store, run, config, resume=False, device=None, processes=1, **rest):
        assert rest["start"] == (f"of {config.encoder}" if config.weights == "phantom" else None)
        calls.append(dict(vars(config), gpus=processes, device=str(device), resume=resume))
        return pd.DataFrame(0., index=range(config.epochs), columns=covid_nbdev.train.HISTORY)
    for name in ("train_run", "train_parallel"): monkeypatch.setattr(covid_nbdev.run, name, train)
    monkeypatch.setattr(covid_nbdev.pretrain, "pretrain", lambda config, device: f"of {config.encoder}")
    monkeypatch.setattr(covid_nbdev.report, "write_results", lambda *a, **k: {})
    monkeypatch.setattr(covid_nbdev.results, "results_table", lambda metrics: pd.DataFrame())
    return calls


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path)); monkeypatch.delenv("KAGGLE_USERNAME", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory):
    from covid_nbdev.model import bare_model
    path = tmp_path_factory.mktemp("weights")/FILE
    encoder = bare_model("efficientnet-b0", in_channels=1).encoder
    safetensors.torch.save_file({k: v.contiguous() for k, v in encoder.state_dict().items()}, path)
    return path


def of(name): return [case[1:] for case in CASES if case[0] == name]


@pytest.mark.parametrize("option, value", of("covid_phantom"))
def test_phantom(option, value, here, cli):
    given = dict(n_radiopaedia=0, n_medseg=1, n_test=1, size=64) | {option: value}
    status, _, err = cli("covid_phantom", "new", *(w for item in given.items() for w in words(*item)))
    assert status == 0, err
    shapes = {f: np.load(p, mmap_mode="r").shape for f in ("radiopedia", "medseg", "test_images_medseg")
              for p in Path("new").glob(f"{'' if f.startswith('test') else 'images_'}{f}.npy")}
    assert {f: s[0] for f, s in shapes.items()} == {f: given[n] for f, n in (("radiopedia", "n_radiopaedia"), ("medseg", "n_medseg"),
                                                                           ("test_images_medseg", "n_test")) if given[n]}
    assert {s[1] for s in shapes.values()} == {given["size"]}
    if option != "labels": return
    given.pop("labels")
    assert cli("covid_phantom", "reader", *(w for item in given.items() for w in words(*item)))[0] == 0
    for part, same in (("images", True), ("masks", False)):
        assert same == np.array_equal(*(np.load(Path(f)/f"{part}_medseg.npy") for f in ("new", "reader"))), part
    assert "expected 'reader' or 'truth'" in cli("covid_phantom", "other", "--labels", "both")[2] and not Path("other").exists()


@pytest.mark.parametrize("option, value", of("covid_etl"))
def test_etl(option, value, here, cli, monkeypatch, layout):
    asked = []
    monkeypatch.setattr(c.client, "download_competition", lambda dest: asked.append(dest) or layout)
    status, out, err = cli("covid_etl", "src", "store", *words(option, value))
    assert status == 0 and asked == ["src"] and "Kaggle's files are in" in out, err


@pytest.mark.parametrize("option, value", of("covid_train"))
def test_train(option, value, here, cli, store, trained, weights_file):
    "The settings are really checked; they arrive at the training, and in the run's config.json."
    given = {option: str(weights_file) if value == FILE else value}
    if option not in ("encoder", "resume"): given["encoder"] = "efficientnet-b0"
    if option not in ("size", "resume"): given["size"] = 64
    if option in ("resume", "force"): assert cli("covid_train", store.path, "run", "--encoder", "efficientnet-b0", "--size", 64)[0] == 0
    status, out, err = cli("covid_train", store.path, "run", *(w for item in given.items() for w in words(*item)))
    assert status == 0, err
    assert Path("run.old1").is_dir() == (option == "force")
    kept = json.loads(Path("run/config.json").read_text(encoding="utf-8"))
    expected = {"none": None, "3e-4": 3e-4}.get(value, given[option]) if option != "class_weights" else value
    if option == "gpus": expected = value or None
    assert option == "force" or trained[-1][option] == expected
    assert option not in kept or kept[option] == expected


@pytest.fixture(scope="session")
def series(tmp_path_factory):
    "A folder with two series of the same chest, of 3 and of 2 slices."
    hu, _ = make_volume(20, n_slices=3, size=64)
    folder = tmp_path_factory.mktemp("dicom")/"scans"
    for n in (3, 2): write_dicom_series(hu[:n] + n, folder/str(n))
    return folder


@pytest.mark.parametrize("option, value", of("covid_predict"))
def test_predict(option, value, here, cli, tiny_run, series, monkeypatch):
    import covid_nbdev.results as results
    made = []
    monkeypatch.setattr(results, "Predictor", lambda *a, real=results.Predictor, **k: made.append(k) or real(*a, **k))
    status, out, err = cli("covid_predict", tiny_run, series, "out", *words(option, value))
    assert status == 0, err
    assert out.splitlines()[-1].startswith(f"{2 if option == 'series' else 3} slices")
    assert option in ("series", "dicom_seg") or made[0][option] == value
    assert option != "dicom_seg" or (here/"out"/"labels.dcm").is_file()


@pytest.mark.parametrize("option, value", of("covid_submission"))
def test_submission(option, value, here, cli, tiny_run, store, monkeypatch):
    import covid_nbdev.results as results
    made, sent = [], []
    monkeypatch.setattr(results, "Predictor", lambda *a, real=results.Predictor, **k: made.append(k) or real(*a, **k))
    monkeypatch.setattr(c.client, "kaggle_client", lambda: None)
    monkeypatch.setattr(c.client, "submit", lambda csv, message: sent.append((csv, message)) or "taken")
    more = ["--submit"] if option == "message" else []
    status, out, err = cli("covid_submission", tiny_run, store.path, "out.csv", *words(option, value), *more)
    assert status == 0 and "2 test slices in out.csv" in out, err
    if option in ("tta", "min_px"): assert made[0][option] == value and not sent
    else: assert sent == [("out.csv", value if option == "message" else f"covid_nbdev {tiny_run.name}")]


@pytest.mark.parametrize("option, value", of("covid_deid"))
def test_deid(option, value, here, cli, series):
    import pydicom
    first = next(series.rglob("*.dcm"))
    with_date = here/"in"; with_date.mkdir()
    ds = pydicom.dcmread(first)
    ds.StudyDate = "20200401"
    if option == "keep_secondary": ds.ImageType = ["DERIVED", "SECONDARY"]; ds.BurnedInAnnotation = "NO"
    ds.save_as(with_date/"a.dcm")
    status, out, err = cli("covid_deid", "in", "out", *words(option, value))
    assert status == 0 and "1 files of 1 patients written" in out, out + err
    after = pydicom.dcmread(next((here/"out").rglob("*.dcm")))
    assert (here/"key.json").is_file() == (option == "key") and after.StudyDate != "20200401"
    assert bool(after.StudyDate) == (option == "shift_dates")


@pytest.mark.parametrize("option, value", of("covid_kernel"))
def test_kernel(option, value, here, cli, monkeypatch, weights_file):
    pushed = []
    monkeypatch.setattr(c.client, "push_kernel", lambda folder: pushed.append(folder) or "its address")
    given = {option: str(weights_file) if value == FILE else value} | ({"encoder": "efficientnet-b0"} if option == "weights" else {})
    if option == "force": assert cli("covid_kernel", "kernel")[0] == 0
    status, out, err = cli("covid_kernel", "kernel", *(w for item in given.items() for w in words(*item)))
    assert status == 0, err
    about = json.loads((here/"kernel/kernel-metadata.json").read_text(encoding="utf-8"))
    assert dict(user=about["id"].startswith("ana/"), accelerator=about["machine_shape"] == value, go_on=about["kernel_sources"] != [],
                weights=(here/"kernel/weights"/FILE).is_file(), lite=kept_values(here/"kernel", encoder="lite2"), push=pushed != [],
                force=(here/"kernel.old1").is_dir()).get(option) or kept_values(here/"kernel", **{option: value})


@pytest.mark.parametrize("option, value", of("covid_demo"))
def test_demo(option, value, here, cli, instant):
    status, out, err = cli("covid_demo", *words(option, value))
    assert status == 0 and (here/value/"metrics.json").is_file() and str(Path(value)/"curves.png") in out, err


# ---- calls from Python

KERNEL = ["ipykernel_launcher.py", "-f", "kernel-1.json"]


@pytest.mark.parametrize("argv", [KERNEL, ["/usr/bin/pytest", "-q"], [""], [], ["-c"], ["covid_demo.py", "3"], ["ipython", "--pdb"]], ids=str)
def test_a_call_is_a_call(argv, here, monkeypatch, capsys):
    "Whatever the process was started with, its arguments are its own. Errors are exceptions, and nothing exits."
    monkeypatch.setattr(sys, "argv", argv)
    assert c.covid_phantom(here/"phantom", n_radiopaedia=0, n_medseg=1, n_test=1, size=64) is None
    with pytest.raises(BadInput, match="not empty"): c.covid_phantom(here/"phantom")
    for name in set(COMMANDS) - {"covid_demo"}:
        with pytest.raises(TypeError, match="missing"): getattr(c, name)()


@pytest.mark.parametrize("argv", [KERNEL, [""]], ids=str)
def test_the_demo_in_a_notebook(argv, here, instant, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", argv)
    assert c.covid_demo() is None and (here/"runs/demo/metrics.json").is_file()
    (here/"runs/demo"/c._MARK).unlink()
    with pytest.raises(BadInput, match="which no demo made"): c.covid_demo()


@pytest.mark.parametrize("started", ["covid_etl", "/opt/venv/bin/covid_etl", "Scripts/covid_etl.exe", "Scripts/covid_etl-script.py", "Scripts/COVID_ETL.EXE"])
def test_a_script_is_a_script(started, here, layout, monkeypatch, capsys):
    "The same functions, started as pip's scripts or Windows' launchers start them: sys.argv and an exit status."
    monkeypatch.setattr(sys, "argv", [started, str(layout), "store"])
    assert c.covid_etl() == 0 and (here/"store").is_dir()
    assert c.covid_etl() == 2 and "covid_etl: found store, which is not empty" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", [started])
    with pytest.raises(SystemExit, match="2"): c.covid_etl()


@pytest.mark.parametrize("line", ["covid_phantom --help", "covid_phantom dest --n_radiopaedia 0 --n_medseg 1 --n_test 1 --size 64"])
def test_a_reader_that_went_away(line, here):
    "covid_etl raw store | head -0: status 1, no complaint. What is printed waits in a buffer: at the exit it would be too late."
    name, *rest = line.split()
    env = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    p = subprocess.Popen([Path(sys.executable).parent/name, *rest], cwd=here, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdout.close()
    assert (p.stderr.read(), p.wait()) == (b"", 1)


def test_whole_numbers_paths_and_none(here, store, trained, monkeypatch):
    "As people write them in a notebook."
    monkeypatch.setattr(sys, "argv", KERNEL)
    c.covid_train(data=store.path, run=here/"run", epochs=None, lr=1, rotate=180, encoder="efficientnet-b0", weights=None, size=64)
    assert trained[0]["lr"] == 1 and trained[0]["rotate"] == 180 and trained[0]["weights"] is None
    with pytest.raises(BadInput, match="an earlier run"): c.covid_train(store.path, here/"run")


def test_calls_with_paths(here, tiny_run, layout, series, monkeypatch):
    monkeypatch.setattr(sys, "argv", KERNEL)
    c.covid_etl(src=layout, store=here/"store")
    c.covid_predict(tiny_run, input=series, out=here/"predicted", series=None, min_px=0)
    c.covid_submission(run=tiny_run, data=here/"store", out=here/"a.csv")
    c.covid_deid(src=series, dest=here/"copies", key=None)
    c.covid_kernel(dest=here/"kernel", epochs=None, hours=9)
    assert {p.name for p in here.iterdir()} == {"store", "predicted", "a.csv", "copies", "kernel"}


# ---- texts, whatever the machine's letters

def sources():
    "The package's modules, and the code of Kaggle's notebook."
    for p in sorted((ROOT/"covid_nbdev").glob("[a-z]*.py")): yield p.name, p.read_text(encoding="utf-8")
    for cell in json.loads((ROOT/"covid_nbdev"/"kernel.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code": yield f"kernel.ipynb {cell['id']}", "".join(cell["source"])


def without_encoding(source: str) -> list[str]:
    "Calls that open a text, or read another program's, in whatever code page the machine has."
    found = []
    for call in ast.walk(ast.parse(re.sub(r"^\s*[%!].*$", "", source, flags=re.M))):
        if not isinstance(call, ast.Call): continue
        name, given = getattr(call.func, "id", getattr(call.func, "attr", "")), {k.arg for k in call.keywords}
        owner = getattr(getattr(call.func, "value", None), "id", "")
        place = 1 if isinstance(call.func, ast.Name) or owner == "io" else 0
        mode = next((k.value for k in call.keywords if k.arg == "mode"), (call.args[place:] or [ast.Constant("r" if name == "open" else "b")])[0])
        text = ((name == "write_text" and len(call.args) < 2) or (name == "read_text" and not call.args) or (name in ("Popen", "run") and "text" in given)
                or (name in ("open", "TemporaryFile", "NamedTemporaryFile") and owner in ("", "io", "tempfile") and "b" not in ast.unparse(mode)))
        if text and "encoding" not in given: found.append(ast.unparse(call))
    return found


def test_texts_name_their_encoding():
    assert {name: calls for name, source in sources() if (calls := without_encoding(source))} == {}


@pytest.mark.parametrize("line", ["open('a')", "open('a', 'w')", "io.open('a')", "Path('a').read_text()", "p.write_text(t)", "subprocess.run(['a'], text=True)",
                                  "tempfile.TemporaryFile('w+')", "open('a', mode='r+')"])
def test_the_search_finds(line): assert without_encoding(line)


@pytest.mark.parametrize("line", ["open('a', 'rb')", "open('a', encoding='utf-8')", "p.read_text('utf-8')", "p.write_text(t, 'utf-8')", "os.open('a', 1)", "subprocess.run(['a'])",
                                  "tempfile.TemporaryFile()", "Image.open('a')"])
def test_the_search_passes(line): assert not without_encoding(line)


BIN = Path(sys.executable).parent
FOREIGN = "Łódź – ₂×é 폐"     # letters of which each code page lacks some


def terminal(name, *args, cwd, **env):
    "Run the real script in a terminal without UTF-8."
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHONUTF8", "PYTHONIOENCODING"))} | \
          {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONWARNDEFAULTENCODING": "1"} | env
    return subprocess.run([BIN/name, *map(str, args)], cwd=cwd, env=env, capture_output=True)


def fine(done, status=0):
    assert done.returncode == status and b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
    ours = [line for line in done.stderr.decode(errors="replace").splitlines() if "EncodingWarning" in line and "covid_nbdev" in line]
    assert not ours


@pytest.mark.parametrize("letters", ["cp949", "cp437"])
def test_a_terminal_that_lacks_our_letters(letters, here):
    "× and – are printed, as question marks where need be; a path with any letters is taken, written to and named in an error."
    how = {"PYTHONIOENCODING": letters}
    calls = [["covid_phantom", FOREIGN, "--n_radiopaedia", 0, "--n_medseg", 1, "--n_test", 1, "--size", 64], *[["covid_etl", FOREIGN, f"{FOREIGN} store"]]*2]
    fine(done := in_turn(*calls, cwd=here, **how), 2)
    assert b"slices of 64" in done.stdout and (here/FOREIGN).is_dir() and (here/f"{FOREIGN} store").is_dir()
    assert (last := done.stderr.splitlines()[-1]).startswith(b"covid_etl: found") and b"not empty" in last


# In one process, since each would import the same: what the scripts do, with arguments as this locale's terminal gives them.
ONE_AFTER_THE_OTHER = """
import locale, sys
import covid_nbdev.cli as cli
print(locale.getpreferredencoding(False), flush=True)
words = sys.argv[1:]
while words:
    sys.argv, words = words[:words.index("then")], words[words.index("then") + 1:]
    if status := getattr(cli, sys.argv[0])(): sys.exit(status)
"""


def in_turn(*calls, cwd, **env):
    return terminal(sys.executable, "-c", ONE_AFTER_THE_OTHER, *(word for call in calls for word in (*call, "then")), cwd=cwd, **env)


@pytest.fixture(scope="session")
def locales(tmp_path_factory):
    "Korean and Western European code pages, as machines without UTF-8 have them."
    folder = tmp_path_factory.mktemp("locales")
    if not shutil.which("localedef"): pytest.skip("localedef not found")
    for name, charset in (("ko_KR", "CP949"), ("de_DE", "ISO-8859-1")):
        subprocess.run(["localedef", "-i", name, "-f", charset, folder/f"{name}.{charset}"], capture_output=True)
        if not (folder/f"{name}.{charset}").is_dir(): pytest.skip("localedef can't make these locales here")
    return folder


def all_utf8(folder):
    texts = [p for p in folder.rglob("*") if p.suffix in (".md", ".json", ".csv", ".html", ".ipynb", ".txt")]
    for p in texts: p.read_text(encoding="utf-8")
    return {p.name for p in texts}


@pytest.mark.parametrize("letters", ["ko_KR.CP949", "de_DE.ISO-8859-1"])
def test_code_pages(letters, locales, here):
    "All that is written is UTF-8 and reads the same everywhere; a path that is no text in this code page is taken."
    calls = [["covid_phantom", FOREIGN, "--n_radiopaedia", 0, "--n_medseg", 1, "--n_test", 1, "--size", 64], ["covid_etl", FOREIGN, f"{FOREIGN} store"],
             ["covid_kernel", "kernel", "--user", "someone"]]
    fine(done := in_turn(*calls, cwd=here, LOCPATH=str(locales), LC_ALL=letters))
    assert done.stdout.split()[0].lower() in (b"cp949", b"iso-8859-1"), "the locale is not in force"
    assert {"README.txt", "patients.csv", "index.csv", "kernel-metadata.json"} <= all_utf8(here)


def test_code_pages_of_a_training(locales, layout, here, cli, monkeypatch):
    "The same of a training and of predictions: in this process, which has imported torch, unless its texts are UTF-8 in any locale."
    shutil.copytree(layout, here/FOREIGN)
    calls = [["covid_train", FOREIGN, "run", "--epochs", 1, "--size", 32, "--encoder", "efficientnet-b0"],
             ["covid_predict", "run", Path(FOREIGN)/"test_images_medseg.npy", "out"]]
    if sys.flags.utf8_mode: fine(in_turn(*calls, cwd=here, LOCPATH=str(locales), LC_ALL="ko_KR.CP949"))
    else:
        def told(encoding, stacklevel=2, real=io.text_encoding):      # what PYTHONWARNDEFAULTENCODING warns of; pathlib asks it
            assert encoding or not sys._getframe(2).f_globals.get("__name__", "").startswith("covid_nbdev"), "a text without an encoding"
            return real(encoding, stacklevel)
        monkeypatch.setattr(io, "text_encoding", told)
        monkeypatch.setenv("LOCPATH", str(locales))
        before = locale.setlocale(locale.LC_CTYPE)
        try:
            locale.setlocale(locale.LC_CTYPE, "ko_KR.CP949")
            with open("letters.txt", "w") as f: assert f.encoding.lower() == "cp949", "the locale is not in force"
            for call in calls: assert (done := cli(*call))[0] == 0, done
        finally: locale.setlocale(locale.LC_CTYPE, before)
    assert {"config.json", "history.csv", "metrics.json", "model_card.md", "extent.csv", "summary.html"} <= all_utf8(here)


def test_what_the_operating_system_says():
    "A file that another program has open is no matter of permissions."
    error = PermissionError(13, "The process cannot access the file because it is being used by another process", "a.csv")
    error.winerror = 32
    assert "open in another program" in _plain_words(error) and "permission" not in _plain_words(error) and "a.csv" in _plain_words(error)
    assert "permissions" in _plain_words(PermissionError(13, "Permission denied", "a.csv"))
