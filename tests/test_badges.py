"""Notebooks open in Colab and on Kaggle: badges that lead there, and a cell that installs the package where it is missing."""
import json, re, subprocess, sys

import pytest

import badges, lessons
from conftest import ROOT

LESSONS = lessons.lessons()


def test_every_notebook_has_them():
    assert [p.stem for p in LESSONS if badges.stale(p)] == [], "run python tools/badges.py --write"
    for path in LESSONS:
        links = re.findall(r"\]\((https://\S+)\)", next(c.source for c in lessons.read(path).cells if badges.is_badge(c)))
        pages = [link for link in links if link.endswith(".ipynb")]
        name = "00_first_model" if path.stem == "index" else path.stem
        assert len(pages) == 2 and all(p.endswith(f"blob/main/nbs/{name}.ipynb") for p in pages), path.stem


def test_writing_twice_changes_nothing():
    nb = lessons.read(LESSONS[0])
    once = [(c.id, c.source) for c in badges.add(nb, "x").cells]
    assert [(c.id, c.source) for c in badges.add(nb, "x").cells] == once


# In a Python of its own: IPython runs the cell, with %pip replaced by one that only notes what it was asked for.
TRY = """
import sys, importlib.util, json
from IPython.core.interactiveshell import InteractiveShell
shell, asked = InteractiveShell.instance(), []
shell.register_magic_function(asked.append, magic_name="pip")
real = importlib.util.find_spec
if sys.argv[1] == "missing": importlib.util.find_spec = lambda name: None if name == "covid_nbdev" else real(name)
result = shell.run_cell(sys.stdin.read())
result.raise_error()
print("asked:" + json.dumps(asked))
"""


@pytest.mark.parametrize("case, asked", [("missing", [f"install -q git+https://github.com/{badges.repository()}"]), ("there", [])])
def test_it_installs_only_where_missing(case, asked):
    r = subprocess.run([sys.executable, "-c", TRY, case], input=badges.install(), capture_output=True, text=True, cwd=ROOT)
    assert r.returncode == 0, r.stderr
    assert json.loads(r.stdout.partition("asked:")[2]) == asked
