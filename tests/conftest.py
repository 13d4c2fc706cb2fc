"""What all tests share: real CT where it is found, commands in this process, and a committed list of allowed skips."""
import asyncio, importlib, os, re, shutil, signal, sys, tempfile
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT/"tests"), str(ROOT/"tests"/"support"), str(ROOT/"tools")]
os.environ["TQDM_DISABLE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ: os.environ.setdefault("OMP_NUM_THREADS", "1")   # a process for each core, no more threads
os.environ.pop("COVID_DATA", None)
sys.modules["rfc3987_syntax"] = None      # where there is one, nbformat's import has it build a grammar: two seconds for nothing


def real_data() -> Path | None:
    "The folder with real CT: COVID_REAL_DATA, or ../shared/data. None of it is ever committed."
    folder = Path(os.environ.get("COVID_REAL_DATA") or ROOT.parent/"shared"/"data")
    return folder if (folder/"medseg_slices.npz").is_file() else None


def heeds_ctrl_c():
    "For Popen's preexec_fn: a shell's background job ignores Ctrl-C, and its children would, too."
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def made_once(tmp_path_factory, name: str, make) -> Path:
    "This process's copy of the folder that `make(folder)` writes: of a test run's processes, the first that wants it makes it."
    from filelock import FileLock
    own, base = tmp_path_factory.mktemp(name)/name, tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" not in os.environ: make(own); return own
    made = base.parent/f"made-{name}"
    with FileLock(f"{made}.lock"):
        if not made.is_dir():      # complete, or not there
            make(half := base/f"half-{name}")
            half.rename(made)
    return Path(shutil.copytree(made, own))


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
    return made_once(tmp_path_factory, "layout", lambda folder: write_phantom_dataset(folder, n_radiopaedia=8, n_medseg=16, n_test=2, size=64, seed=3))


@pytest.fixture
def copy_layout(layout, tmp_path):
    "A copy of the small phantom that a test may spoil."
    return Path(shutil.copytree(layout, tmp_path/"layout"))


@pytest.fixture(scope="session")
def store(layout, tmp_path_factory):
    from covid_nbdev.etl import build_store
    return build_store(layout, tmp_path_factory.mktemp("store")/"store")


@pytest.fixture(scope="session")
def tiny_run(store, tmp_path_factory):
    "The one small training: a finished run of two epochs with its results. Tests that change it copy it."
    from covid_nbdev.report import write_results
    from covid_nbdev.run import train_run
    from covid_nbdev.train import TrainConfig
    config = TrainConfig(epochs=2, size=64, batch_size=4, encoder="efficientnet-b0", lr=3e-3, loss="ce+dice", seed=1)
    def make(folder):
        train_run(store, folder, config, progress=False, on_epoch=None)
        write_results(folder, store, progress=False)
    return made_once(tmp_path_factory, "run", make)


@pytest.fixture(scope="session")
def python() -> str:
    "A Python that has imported torch and other large packages already, for scripts in processes of their own; see tools/warm_kernel.py."
    if sys.platform != "linux": return sys.executable
    import lessons, warm_kernel
    return warm_kernel.python(lessons.warm()[5])


@pytest.fixture(scope="session")
def chromium():
    "Debian's chromium, started once in a process, and the loop that Playwright says is running as long as it lives."
    program = Path("/usr/bin/chromium")
    if not program.is_file(): pytest.skip("chromium not found: make test installs it when root")
    from playwright.sync_api import sync_playwright
    flags = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
               --disable-component-update --disable-sync"""
    with sync_playwright() as p:
        made, loop = p.chromium.launch(executable_path=str(program), args=flags.split()), asyncio.get_running_loop()
        asyncio._set_running_loop(None)
        yield made, loop
        asyncio._set_running_loop(loop)
        made.close()


@pytest.fixture(scope="module")
def browser(chromium):
    "For a file that looks at pages. To other files it must seem that no loop is running: they start loops of their own, as nbclient does."
    made, loop = chromium
    asyncio._set_running_loop(loop)
    yield made
    asyncio._set_running_loop(None)


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


# ---- room on the disk. (Once a full disk let 400 tests fail, one slow timeout after the other, until CI's time was over.)
NEEDED_GB = 3      # at most 1.2 at a time were measured


def pytest_sessionstart(session):
    if hasattr(session.config, "workerinput"): return
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free/1e9
    if free < NEEDED_GB:
        pytest.exit(f"found {free:.1f} GB free in {folder}; the tests take up to {NEEDED_GB} GB there. Make room, or set TMPDIR "
                    "to a folder on another disk.", returncode=1)


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory):
    "What programs under test leave in the system's folder for temporary files goes with the other folders of this run."
    folder = tmp_path_factory.mktemp("t", numbered=False)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    os.environ["COVID_CACHE"] = str(folder/"cache")


# ---- make test shares the tests out over two processes (pytest-xdist); what belongs together stays in one of them
# By seconds, the longest first: the last ones to start must be short, or one process waits for the other.
LONGEST_FIRST = ("test_demo", "00_first_model", "test_site", "16_results", "test_commands", "test_phantom", "test_kernel", "test_parallel",
                 "14_train", "08_augment", "23_cli", "14a_run", "13_adam", "07_leaks", "20_privacy", "18a_report", "test_evidence", "test_augment",
                 "test_train", "test_runs", "test_scans", "test_fuzz_scans", "test_play", "test_real", "test_bad_input", "test_pretrain")
# What `make quick` leaves out, besides all that opens a browser, executes a notebook or wants `tiny_run`: what trains, or takes ten seconds
SLOW = ("test_demo", "test_kernel.", "test_parallel", "test_site", "test_train", "test_runs", "test_windows", "test_real", "test_fuzz_scans", "test_results",
        "test_bad_input.py::test_full_disk", "test_weights.py::test_train", "test_pretrain.py::test_killed", "test_pretrain.py::test_command",
        "test_phantom.py::test_calibration",
        "test_phantom.py::test_memory", "test_scans.py::test_a_picture_that_kills", "test_scans.py::test_decoder_in",
        "test_metrics.py::test_equal_to_torchmetrics", "test_commands.py::test_code_pages", "test_augment.py::test_loader", "test_privacy.py::test_pydicoms_own_files")


def _group(nodeid: str) -> str:
    "The tests of a file share its fixtures; those that look at one run of a lesson share that."
    run = re.search(r"test_(?:form\.py::test_explorers|lessons\.py::)\w*\[(\w+)\]$", nodeid)
    return run[1] if run else Path(nodeid.split("::")[0]).stem


@pytest.hookimpl(tryfirst=True)      # before -m looks at the marks
def pytest_collection_modifyitems(config, items):
    if "table" not in config.option.markexpr:      # minutes each: tools/slow.py asks for them
        tables = [item for item in items if item.get_closest_marker("table")]
        if tables: config.hook.pytest_deselected(items=tables)
        items[:] = [item for item in items if item not in tables]
    for item in items:
        if "browser" in item.fixturenames: item.add_marker("browser")
        if "tiny_run" in item.fixturenames or item.nodeid.removeprefix("tests/").startswith(SLOW): item.add_marker("slow")
    place = {name: i for i, name in enumerate(LONGEST_FIRST)}
    rest = {True: len(place), False: len(place) + 1}      # the other notebooks, then the other files
    items.sort(key=lambda item: place.get(group := _group(item.nodeid), rest[not group.startswith("test_")]))      # stable


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    "Groups as above. (The mark for it, xdist_group, does nothing with pytest 9.2 and xdist 3.8.)"
    from xdist.scheduler import LoadScopeScheduling
    config.option.loadscopereorder = False      # the order is LONGEST_FIRST, not the number of a group's tests
    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid): return _group(nodeid)
    return ByGroup(config, log)


# ---- skips are allowed only as tests/skips.txt says; notes come at the end. A test may run in another process than this one.
_skips, _notes, _cells = [], [], {}
_to_tell = []      # in the process of the test that runs now


def note(line: str):
    "A line for the end of the test run."
    _to_tell.append(("note", line))


def count_cells(lesson: str, n: int):
    "For the end of the test run: so many code cells of a notebook were executed in a kernel."
    _to_tell.append(("cells", [lesson, n]))


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    global _terminal
    _terminal = config.pluginmanager.getplugin("terminalreporter")


def pytest_runtest_logreport(report):
    if report.failed and _terminal:      # at once: a run that is ended from outside never gets to its summary
        crash = getattr(report.longrepr, "reprcrash", None)
        message = (crash.message if crash else str(report.longrepr)).strip().splitlines() or [""]
        _terminal.write_line(f"\n{report.nodeid} ({report.when}): {message[0][:300]}")
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skips.append((report.nodeid, reason.removeprefix("Skipped: ")))
    for kind, what in report.user_properties if report.when == "teardown" else ():
        if kind == "note": _notes.append(what)
        if kind == "cells": _cells[what[0]] = what[1]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item, call):
    "Notes travel with the report."
    item.user_properties += _to_tell
    _to_tell.clear()


def _unlisted():
    lines = (ROOT/"tests"/"skips.txt").read_text().splitlines()
    allowed = [line.split(" | ") for line in lines if line.strip() and not line.startswith("#")]
    return [(n, r) for n, r in _skips if not any(n.startswith(a.strip()) and r == b.strip() for a, b in allowed)]


def pytest_sessionfinish(session, exitstatus):
    if _unlisted() and session.exitstatus == 0: session.exitstatus = 1


def pytest_terminal_summary(terminalreporter):
    if _cells:
        listed = ", ".join(f"{name} {n}" for name, n in sorted(_cells.items()))
        _notes.append(f"{len(_cells)} notebooks, {sum(_cells.values())} code cells executed in a kernel: {listed}")
    for line in _notes: terminalreporter.write_line(line)
    for node, reason in _unlisted():
        terminalreporter.write_line(f"FAILED: skipped without leave (tests/skips.txt): {node}: {reason}", red=True)
