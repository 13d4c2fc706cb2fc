"""README's second route, without make: what its lines name exists and works. And what an installation does to Colab and Kaggle."""
import re, shlex, subprocess, sys, tomllib
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import lessons
from conftest import ROOT
from test_house import SHIPPED, declared

PROJECT = tomllib.loads((ROOT/"pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def route():
    "The text of the route, and the lines of its blocks: Windows, elsewhere, both."
    text = next(c.source for c in lessons.read(ROOT/"nbs"/"index.ipynb").cells if "**Without `make`**" in c.source)
    text = text.partition("**Without `make`**")[2]
    return text, [block.strip().splitlines() for block in re.findall(r"```sh\n(.+?)```", text, re.S)]


def test_venv_lines(route, tmp_path):
    "The oldest Python that the package takes; and the environment has what the next line activates."
    windows, elsewhere, _ = route[1]
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert windows == [f"py -{oldest} -m venv .venv", r".venv\Scripts\activate"]
    assert elsewhere == [f"python{oldest} -m venv .venv", "source .venv/bin/activate"]
    if sys.platform == "win32": return
    subprocess.run([sys.executable, *shlex.split(elsewhere[0])[1:], "--without-pip"], cwd=tmp_path, check=True)
    shown = subprocess.run(f"{elsewhere[1]} && python -c 'import sys; print(sys.prefix)'", shell=True, cwd=tmp_path,
                           executable="/bin/bash", capture_output=True, text=True, check=True).stdout
    assert Path(shown.strip()).resolve() == (tmp_path/".venv").resolve()


def test_the_lines_for_both(route):
    install, demo, tests = map(shlex.split, route[1][2])
    assert install[:-1] == ["python", "-m", "pip", "install", "-e"]
    extra = re.fullmatch(r"\.\[(\w+)\]", install[-1])[1]
    assert {"pytest", "pytest-xdist", "nbclient"} <= declared(PROJECT["optional-dependencies"][extra]).keys()
    assert len(demo) == 1 and demo[0] in PROJECT["scripts"]
    run = subprocess.run([Path(sys.executable).parent/demo[0], "--help"], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    run = subprocess.run([sys.executable, *tests[1:], "--collect-only", "-q", "tests/test_badges.py"], capture_output=True, text=True, cwd=ROOT)
    assert tests[0] == "python" and run.returncode == 0 and "test_every_notebook_has_them" in run.stdout, run.stdout + run.stderr


def test_the_address_is_the_projects(route):
    settings = ConfigParser()
    settings.read(ROOT/"settings.ini", encoding="utf-8")
    address = re.search(r"pip install git\+(\S+?)`", route[0])[1]
    assert address == settings["DEFAULT"]["git_url"] == PROJECT["urls"]["Source"]


def test_skips_of_a_plain_clone_are_allowed():
    "Without make nobody installs chromium, and real CT comes with no clone: such tests are skipped, and the run stays green."
    allowed = (ROOT/"tests"/"skips.txt").read_text(encoding="utf-8")
    texts = {p.name: p.read_text(encoding="utf-8") for p in (ROOT/"tests").glob("test_*.py") if p.name != Path(__file__).name}
    reasons = {r"real_layout|real_data\(\)": "real CT not found: set COVID_REAL_DATA",
               r"def test_\w+\([^)]*\bbrowser\b": "chromium not found: make test installs it when root"}
    for wanted, reason in reasons.items():
        names = {name for name, text in texts.items() if re.search(wanted, text)}
        unlisted = {n for n in names if not re.search(rf"^tests/{n}\S* \| {re.escape(reason)}$", allowed, re.M)}
        assert names and unlisted == set(), reason


def test_torch_knows_numpy_2():
    "On an Intel Mac pip picks the last torch there is, 2.2, beside NumPy 2, which it does not know."
    torch = declared(PROJECT["dependencies"])["torch"]
    assert torch.contains("2.3.0") and not torch.contains("2.2.2")


def test_what_is_shipped_is_left_alone_by_what_we_bring():
    "Not only by us (test_house): by every package that comes with us, as installed here."
    seen, todo, wrong = set(), [Requirement(line).name for line in PROJECT["dependencies"]], []
    while todo:
        name = todo.pop().lower().replace("_", "-")
        if name in seen: continue
        seen.add(name)
        try: lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError: continue      # for another system
        for r in map(Requirement, lines):
            if r.marker and not r.marker.evaluate({"extra": ""}): continue
            todo.append(r.name)
            if name == "torchvision" and r.name == "torch": continue       # each belongs to one torch; theirs to theirs
            wrong += [f"{name} wants {r}" for v in SHIPPED.get(r.name.lower(), ()) if not r.specifier.contains(v)]
    assert {"timm", "pydantic"} <= seen and wrong == []
