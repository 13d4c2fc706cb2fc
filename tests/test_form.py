"""The lessons that are in form: their parts are there, their explorers move, their solutions can fail. The list grows."""
import re

import pytest

import lessons
from conftest import ROOT

IN_FORM = [p.stem for p in lessons.lessons() if p.stem[0].isdigit() and p.stem != "23_cli"]   # 15 is a tour of the commands
PATHS = [ROOT/"nbs"/f"{name}.ipynb" for name in IN_FORM]


def words(text: str) -> int: return len(re.findall(r"\w[\w’'-]*", text))


@pytest.fixture(params=PATHS, ids=lambda p: p.stem)
def nb(request): return lessons.read(request.param)


def prose(nb) -> str: return "\n\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
def code(nb) -> list: return [c for c in nb.cells if c.cell_type == "code" and c.source.strip()]


def test_opening(nb):
    "Title, subtitle, what one will learn in three lines, the deck's words, and the Spanish summary."
    text = prose(nb)
    assert re.match(r"# \S.*\n\n> \S", text), "the first words are an H1 and a > subtitle"
    learn = re.search(r"\*\*You will learn\*\*:?\n\n((?:- .+\n?)+)", text)
    assert learn and len(learn[1].strip().split("\n")) == 3
    assert "**What the deck says" in text
    spanish = re.search(r'^::: \{\.callout-note collapse="true"\}\n## En español\n(.+?)\n:::$', text, re.M | re.S)
    assert spanish and 80 <= words(spanish[1]) <= 150, spanish and words(spanish[1])
    assert re.search(r"\(\*[^*]+\*", spanish[1]), "terms in both languages"


def test_prompts_and_closing(nb):
    text = prose(nb)
    assert len(re.findall(r"\*\*Predict before you run", text)) >= 2
    closing = text.partition("\n## What to remember")[2]
    assert 3 <= len(re.findall(r"^- ", closing, re.M)) <= 6
    assert "Next: [" in closing and "not for diagnosis" in closing.lower()


def test_exercises_and_solutions(nb):
    "Numbered questions, each with a collapsed answer in words and one in code."
    text = prose(nb).partition("\n## Exercises")[2]
    questions = re.findall(r"^\*\*(\d+)\.\*\*", text, re.M)
    assert len(questions) >= 3 and questions == [str(i + 1) for i in range(len(questions))]
    assert text.count('::: {.callout-tip collapse="true"}\n## Solution') == len(questions)
    solutions = [c for c in nb.cells if lessons.is_solution(c)]
    assert [re.search(r'"Solution (\d+)"', c.source)[1] for c in solutions] == questions
    for c in solutions:
        assert c.source.startswith("#| code-fold: true\n"), "the page shows it on demand alone"
        assert c.metadata.get("jupyter", {}).get("source_hidden"), "and so does Jupyter"
        assert re.search(r"\bassert\b|\btest_\w+\(", c.source), c.source


def test_figures_have_words(nb):
    for c in code(nb):
        if not any("image/png" in o.get("data", {}) for o in c.outputs): continue
        for key in ("fig-alt", "fig-cap"):
            found = re.search(rf'^#\| {key}: "(.+)"$', c.source, re.M)
            assert found and len(found[1]) >= 30, f"{key} missing:\n{c.source[:300]}"


def test_cells_are_short(nb):
    assert len(nb.cells) >= 40
    for c in code(nb):
        lines = c.source.splitlines()
        assert len(lines) <= 25, f"{len(lines)} lines:\n{c.source[:200]}"
        assert all(len(l) <= 120 for l in lines if not l.startswith("#| fig-")), c.source


def test_there_is_something_to_play_with(nb):
    made = [c for c in code(nb) if lessons.explorers(c)]
    assert made and "## Play" in prose(nb)
    for c in made: assert 'if "IN_TEST" not in os.environ: display(' in c.source


def test_names_exported_are_found():
    "The reader of exports sees functions, classes and constants, no patches."
    names = lessons.exported_names(lessons.read(ROOT/"nbs"/"01_hu.ipynb"))
    assert {"TISSUES", "window", "Standardizer", "BadInput"} <= set(names) and "fit" not in names


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_explorers_move_and_solutions_can_fail(path):
    "In the lesson's own kernel: every control changes pixels inside the axes; a damaged function fails the solution."
    nb = lessons.executed(path)
    found = nb.metadata.probes
    played = {p["explorer"]: p for p in found if "explorer" in p}
    assert set(played) == {name for c in nb.cells for name in lessons.explorers(c)}
    for name, p in played.items():
        assert p["drawn"] and p["moved"] and all(p["moved"].values()), f"{name}: {p}"
    exports = lessons.exported_names(nb)
    tried = [p for p in found if "solution" in p]
    assert len(tried) == len([c for c in nb.cells if lessons.is_solution(c)])
    for p in tried:
        source = next(c.source for c in nb.cells if c.id == p["solution"])
        assert p["caught"] or not exports, f"no damage to {p['used'] or 'any exported function'} makes this fail:\n{source}"


def test_probes_can_fail():
    "A frozen explorer and a solution that asserts nothing are found out."
    nb = lessons.nbformat.v4.new_notebook()
    cell = lessons.nbformat.v4.new_code_cell
    nb.cells = [cell("#| export\ndef double(x): return 2*x"),
                cell("from ipywidgets import interactive\nimport matplotlib.pyplot as plt"),
                cell("def draw(a=1):\n    fig, ax = plt.subplots(); ax.plot([0, 1]); ax.set_title(f'{a}')"),
                cell("explorer = interactive(draw, a=(0, 5))"),
                cell("def move(a=1):\n    fig, ax = plt.subplots(); ax.plot([0, a]); ax.set_ylim(0, 5)"),
                cell("explorer_moves = interactive(move, a=(0, 5))"),
                cell('#| code-fold: true\n#| code-summary: "Solution 1"\nassert double(2) is not None'),
                cell('#| code-fold: true\n#| code-summary: "Solution 2"\nassert double(2) == 4')]
    found = lessons.run_cells(nb, probe=True).metadata.probes
    assert [list(p["moved"].values()) for p in found[:2]] == [[False], [True]]
    assert [p["caught"] for p in found[2:]] == [[], ["double"]]
