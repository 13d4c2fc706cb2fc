"""What all tests share: real CT where it is found, commands in this process, and a committed list of allowed skips."""
import importlib, os, shutil, signal, sys
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT/"tests"))
os.environ["TQDM_DISABLE"] = "1"
os.environ.pop("COVID_DATA", None)


def real_data() -> Path | None:
    "The folder with real CT: COVID_REAL_DATA, or ../shared/data. None of it is ever committed."
    folder = Path(os.environ.get("COVID_REAL_DATA") or ROOT.parent/"shared"/"data")
    return folder if (folder/"medseg_slices.npz").is_file() else None


def heeds_ctrl_c():
    "For Popen's preexec_fn: a shell's background job ignores Ctrl-C, and its children would, too."
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def real_layout(tmp_path_factory):
    "Real slices in Kaggle's layout (MedSeg alone), made by the data's own script."
    folder = real_data()
    if folder is None: pytest.skip("real CT not found: set COVID_REAL_DATA")
    import subprocess
    dest = tmp_path_factory.mktemp("real")/"layout"
    subprocess.run([sys.executable, folder/"make_kaggle_layout.py", dest], check=True, capture_output=True)
    return dest


@pytest.fixture(scope="session")
def layout(tmp_path_factory):
    "A small phantom in Kaggle's layout. Tests must not change it: see `copy_layout`."
    from covid_nbdev.phantom import write_phantom_dataset
    return write_phantom_dataset(tmp_path_factory.mktemp("phantom")/"layout", n_radiopaedia=8, n_medseg=16, n_test=2, size=64, seed=3)


@pytest.fixture
def copy_layout(layout, tmp_path):
    "A copy of the small phantom that a test may spoil."
    return Path(shutil.copytree(layout, tmp_path/"layout"))


@pytest.fixture(scope="session")
def store(layout, tmp_path_factory):
    from covid_nbdev.etl import build_store
    return build_store(layout, tmp_path_factory.mktemp("store")/"store")


@pytest.fixture
def cli(monkeypatch, capsys):
    "Run a console script in this process: cli('covid_etl', src, dest) -> (exit status, stdout, stderr)."
    def run(name, *args):
        monkeypatch.setattr(sys, "argv", [name, *map(str, args)])
        try: status = getattr(importlib.import_module("covid_nbdev.cli"), name)()
        except SystemExit as e: status = e.code      # argparse
        out = capsys.readouterr()
        return status, out.out, out.err
    return run


# ---- skips are allowed only as tests/skips.txt says
_skips, _notes = [], []


def note(line: str):
    "A line for the end of the test run."
    _notes.append(line)


def pytest_runtest_logreport(report):
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skips.append((report.nodeid, reason.removeprefix("Skipped: ")))


def _unlisted():
    lines = (ROOT/"tests"/"skips.txt").read_text().splitlines()
    allowed = [line.split(" | ") for line in lines if line.strip() and not line.startswith("#")]
    return [(n, r) for n, r in _skips if not any(n.startswith(a.strip()) and r == b.strip() for a, b in allowed)]


def pytest_sessionfinish(session, exitstatus):
    if _unlisted() and session.exitstatus == 0: session.exitstatus = 1


def pytest_terminal_summary(terminalreporter):
    for line in _notes: terminalreporter.write_line(line)
    for node, reason in _unlisted():
        terminalreporter.write_line(f"FAILED: skipped without leave (tests/skips.txt): {node}: {reason}", red=True)
