"""The form of a lesson and of a workshop. Of lessons: their parts are there, their explorers move, their solutions can fail."""
import re

import pytest

import lessons
from conftest import ROOT
from test_house import wants_example

WORKSHOPS = [p for p in lessons.lessons() if lessons.is_workshop(p)]
PATHS = [p for p in lessons.lessons() if p not in WORKSHOPS and p.stem != "index"]


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
    assert spanish[1].startswith('\n::: {lang="es"}\n'), "a screen reader must know the language"
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
        assert TEST.search(c.source), c.source


def test_figures_have_words(nb):
    for c in code(nb):
        if not any("image/png" in o.get("data", {}) for o in c.outputs): continue
        for key in ("fig-alt", "fig-cap"):
            found = re.search(rf'^#\| {key}: "(.+)"$', c.source, re.M)
            assert found and len(found[1]) >= 30, f"{key} missing:\n{c.source[:300]}"


def test_cells_are_short(nb):
    assert 40 <= len(nb.cells) <= 70
    assert too_large(nb, most=70) + too_long(nb) == []


def shown(nb) -> list:
    "Code that the page shows unfolded."
    return [c for c in code(nb) if not re.match(r"#\| (export\n|hide|code-fold)", c.source)]


def too_long(nb) -> list[str]:
    "Code above 20 lines, but for a command's options and a run's settings, a line of help each; lines that the page would wrap."
    lines = {c.id: [l for l in c.source.splitlines() if not l.startswith("#|")] for c in code(nb)}
    return ([c.source[:80] for c in code(nb) if len(lines[c.id]) > 20 and not re.search(r"@command\(|class TrainConfig", c.source)]
            + [l for c in shown(nb) for l in lines[c.id] if len(l) > 100])


def words_share(nb) -> float:
    "Letters of prose among those of prose and code; callouts, which are folded, don't count."
    text = re.sub(r"^::: \{.+?^:::$", "", prose(nb), flags=re.M | re.S)
    return len(text)/(len(text) + sum(len(c.source) for c in shown(nb)))


def test_a_third_is_prose(nb): assert words_share(nb) >= .35, f"{words_share(nb):.2f}"


def test_long_cells_and_little_prose_are_found():
    new = lessons.nbformat.v4
    few, many = "x = 1", "\n".join(["x = 1"]*21)
    nb = new.new_notebook(cells=[*map(new.new_code_cell, (few, many, "y"*101, "#| export\n" + "z"*101, '@command("a")\n' + many)),
                                 new.new_markdown_cell("words " * 10 + "\n\n::: {.callout-tip}\n" + "words "*400 + "\n:::")])
    assert [t[:3] for t in too_long(nb)] == [many[:3], "yyy"] and .1 < words_share(nb) < .2


def test_there_is_something_to_play_with(nb):
    "A figure that needs no kernel, or an explorer."
    made = [c for c in code(nb) if lessons.explorers(c)]
    playables = [c for c in code(nb) if "data-covid-play=" in str(c.outputs)]
    assert playables or made and "## Play" in prose(nb)
    for c in made: assert 'if "IN_TEST" not in os.environ: display(' in c.source


# ---- workshops

TEST = re.compile(r"\bassert\b|\btest_\w+\(")


def faults(nb, names) -> list[str]:
    "What keeps a notebook from being a workshop that shows these names."
    cells = [c for c in nb.cells if c.source.strip()]
    texts = [c.source for c in cells if c.cell_type == "markdown" and "[![Open in Colab]" not in c.source]
    found = []
    if not re.fullmatch(r"# \S.*\n+> Workshop: \S.*", texts[0].strip()): found.append("the title's cell is # title and > Workshop: …, nothing else")
    purpose = re.sub(r"^#+ .*", "", texts[1] if len(texts) > 1 else "", flags=re.M)
    if words(purpose) < 15 or not re.search(r"\]\(\d\d_\w+\.ipynb", purpose):
        found.append("after the title, a paragraph says what it keeps running, with links to the lessons that use it")
    found += [f"{what}: not in a workshop" for what in ("En español", "## Exercises", "## Play") if any(what in t for t in texts)]
    found += [f"{n}: no example that is a test" for n in names if not any(TEST.search(e) for e in lessons.examples(nb, n))]
    return found


@pytest.mark.parametrize("path", WORKSHOPS, ids=lambda p: p.stem)
def test_workshop(path):
    nb = lessons.read(path)
    assert faults(nb, wants_example(path.stem.split("_", 1)[1])) + too_large(nb, most=40) == []


def test_workshops_can_fail():
    "Each of the faults is found, and nothing in a notebook without."
    new = lessons.nbformat.v4
    def notebook(title, purpose, *code): return new.new_notebook(cells=[*map(new.new_markdown_cell, (title, purpose)), *map(new.new_code_cell, code)])
    purpose = "What it keeps running: files that survive a full disk, for all lessons that write some, first of all [ETL](05_etl.ipynb)."
    title, export, example = "# Core\n\n> Workshop: files that survive", "#| export\ndef f(): return 1", "assert f() == 1"
    assert faults(notebook(title, purpose, export, example), ["f"]) == []
    wrong = [(title.replace("Workshop: ", ""), purpose, export, example), (title, "Files.", export, example), (title, purpose, export, "f()"),
             (title, purpose, export, "from x import f\nassert True"), (title, purpose, export), (title, purpose + "\n\n## Play", export, example)]
    assert [len(faults(notebook(*w), ["f"])) for w in wrong] == [1]*6


# ---- both

def too_large(nb, most: int = 25) -> list[str]:
    "Cells that nobody reads in one go, and an export at the very end, over which nbdev's documentation stumbles."
    found = [] if not lessons.is_exported(nb.cells[-1]) else ["the last cell exports: nbdev wants one below it"]
    for c in code(nb):
        lines = c.source.splitlines()
        long = [l for l in lines if len(l) > 120 and not l.startswith("#| fig-")]
        if len(lines) > most or long: found.append(f"{len(lines)} lines, {len(long)} of them too long:\n{c.source[:200]}")
    return found


def test_names_exported_are_found():
    "The reader of exports sees functions, classes and constants, no patches."
    names = lessons.exported_names(lessons.read(ROOT/"nbs"/"01_hu.ipynb"))
    assert {"TISSUES", "window", "Standardizer"} <= set(names) and "fit" not in names


# ---- in the lesson's own kernel

@pytest.mark.notebook
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
        commands = path.stem == "23_cli"       # they give files and lines, no value that could be damaged
        assert p["caught"] or not exports or commands, f"no damage to {p['used'] or 'any exported function'} makes this fail:\n{source}"


@pytest.mark.notebook
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
