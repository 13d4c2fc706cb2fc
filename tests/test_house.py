"""The house: notebooks, export, README and settings agree; layers are kept; nothing foreign is in the repository."""
import ast, dataclasses, filecmp, importlib, inspect, os, re, shutil, subprocess, sys, tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest
from fastcore.docments import docments
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import house, lessons, readme
import map as house_map
from conftest import ROOT

BIN = Path(sys.executable).parent
LESSONS = lessons.lessons()


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    "A copy of what export and clean work on."
    dest = tmp_path_factory.mktemp("clone")
    for name in ("nbs", "covid_nbdev"):
        shutil.copytree(ROOT/name, dest/name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for name in ("settings.ini", "pyproject.toml", "_quarto.yml", "README.md"): shutil.copy(ROOT/name, dest)
    return dest


def nbdev(command, cwd): subprocess.run([BIN/command], cwd=cwd, check=True, capture_output=True)


def test_export_is_in_sync(clone):
    for p in (clone/"covid_nbdev").glob("*.py"): p.unlink()
    nbdev("nbdev_export", clone)
    made, kept = ({p.name for p in (d/"covid_nbdev").glob("*.py")} for d in (clone, ROOT))
    assert made == kept
    _, differ, errors = filecmp.cmpfiles(ROOT/"covid_nbdev", clone/"covid_nbdev", made, shallow=False)
    assert not differ + errors, "edit the notebooks, then run nbdev_export"
    assert filecmp.cmp(ROOT/"pyproject.toml", clone/"pyproject.toml", shallow=False)


def test_notebooks_are_clean(clone):
    nbdev("nbdev_clean", clone)
    names = [p.name for p in LESSONS]
    _, differ, errors = filecmp.cmpfiles(ROOT/"nbs", clone/"nbs", names, shallow=False)
    assert not differ + errors, "run nbdev_clean"


def test_readme_is_made_from_the_index(): assert readme.stale() == [], "run make readme"


# ---- the import rule, and the map that is drawn from the same imports

NUMBERS = {room.module: room.number for room in house.rooms()}
MODULES = sorted((p.stem for p in (ROOT/"covid_nbdev").glob("[a-z]*.py")), key=NUMBERS.get)


def test_modules_import_from_lower_numbers_only():
    "Or, within one number, along the arrows of tools/house.py, without circles."
    assert len(MODULES) >= 25
    assert house.against_the_rule(ROOT/"covid_nbdev", NUMBERS) == []
    assert house.circles(house.graph(ROOT/"covid_nbdev", NUMBERS)) == []


@pytest.mark.parametrize("line", ["from .cli import covid_demo", "def f():\n    from .cli import covid_demo", "from . import cli", "import covid_nbdev.cli",
                                  "from covid_nbdev import cli", "from covid_nbdev.cli import covid_demo as x", "import os, covid_nbdev.cli as c",
                                  "import importlib\nimportlib.import_module('covid_nbdev.cli')"])
def test_an_import_upward_is_found(line, tmp_path):
    "In whatever way it is written. Seen to fail on the package itself with the first of these in hu."
    folder = tmp_path/"covid_nbdev"
    folder.mkdir()
    for name in ("hu", "masks", "cli"): (folder/f"{name}.py").write_text("from covid_nbdev import __version__\n")
    assert house.against_the_rule(folder, NUMBERS) == []
    (folder/"hu.py").write_text(line)
    assert house.against_the_rule(folder, NUMBERS) == ["01 hu imports 23 cli"]


def test_arrows_within_a_number_and_circles(tmp_path):
    folder = tmp_path/"covid_nbdev"
    folder.mkdir()
    for name, line in {"train": "from .devices import x", "devices": "from .core import x", "run": "from .train import x", "core": ""}.items():
        (folder/f"{name}.py").write_text(line)
    assert house.against_the_rule(folder, NUMBERS) == [] and house.circles(house.graph(folder, NUMBERS)) == []
    (folder/"devices.py").write_text("from .train import x")
    assert house.against_the_rule(folder, NUMBERS) == ["14b devices imports 14 train"]
    assert house.circles(house.graph(folder, NUMBERS)) == ["devices", "run", "train"]
    (folder/"core.py").write_text("from .nowhere import x")
    assert "00a core imports nowhere, which has no notebook" in house.against_the_rule(folder, NUMBERS)


def test_contributing_shows_the_map():
    assert house_map.without_lines(house_map.copy()) == house_map.without_lines(house_map.drawn()), "run python tools/map.py --write"


def test_no_module_without_a_notebook(): assert set(MODULES) <= set(NUMBERS)


WITHOUT_TORCH = "core hu masks metrics play phantom anatomy scanner lesions etl competition eda leaks convolution gradients evidence scans nifti dicom series pixels privacy profile verify deidentify kaggle client cli outputs"

# what must not be there after their imports, the lightest first
HEAVY = {"hu masks metrics etl": "torch pandas matplotlib", "cli": "torch pydicom requests kaggle kagglesdk", WITHOUT_TORCH: "torch"}


def test_what_imports_bring_in():
    "By what is loaded, not by the clock; one process for all."
    code = "import sys\n" + "".join("".join(f"import covid_nbdev.{m}\n" for m in modules.split())
                                    + f"print(*[('{modules.split()[-1]}', m) for m in {heavy.split()} if m in sys.modules])\n" for modules, heavy in HEAVY.items())
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert out.returncode == 0 and out.stdout.split() == [], out.stdout + out.stderr


def test_modules_are_of_a_size_to_read():
    lengths = {m: house_map.lines(m) for m in MODULES}
    too_long = {m: n for m, n in lengths.items() if n > (480 if m == "anatomy" else 330)}
    assert too_long == {} and sum(lengths.values()) <= 7900, f"{too_long}; all together {sum(lengths.values())}"


# ---- what is public is documented, and shown in its notebook

def public(module: str) -> dict:
    "Functions and classes that a module exports."
    loaded = importlib.import_module(f"covid_nbdev.{module}")
    return {n: v for n in loaded.__all__ if inspect.isfunction(v := getattr(loaded, n)) or inspect.isclass(v)}


def wants_example(module: str) -> list[str]:
    "Public names, less the types that its public functions give back: their examples are these functions'."
    names = public(module)
    given = " ".join(str(inspect.signature(v).return_annotation) for v in names.values() if inspect.isfunction(v))
    return [n for n, v in names.items() if inspect.isfunction(v) or not re.search(rf"\b{n}\b", given)]


def undocumented(name: str, thing) -> list[str]:
    "Parts of a function, or of a class's constructor, without a word of explanation."
    found = [] if (thing.__doc__ or "").strip() and not thing.__doc__.startswith(f"{name}(") else [f"{name}: no docstring"]
    if inspect.isclass(thing) and dataclasses.is_dataclass(thing): explained, wanted = docments(thing), [f.name for f in dataclasses.fields(thing) if f.init]
    elif inspect.isclass(thing) and "__init__" not in vars(thing): return found
    else:
        function = thing.__init__ if inspect.isclass(thing) else thing
        explained, wanted = docments(function), [n for n, p in inspect.signature(function).parameters.items() if n != "self" and p.kind != p.VAR_KEYWORD]
    return found + [f"{name}: {p} without a docment" for p in wanted if not explained.get(p)]


def test_public_names_are_documented():
    found = [f"{m}.{line}" for m in MODULES for n, thing in public(m).items() for line in undocumented(n, thing)]
    assert found == [], "\n" + "\n".join(found)


def test_public_names_have_an_example():
    "In a cell of the notebook that is not exported; an import of the name is none."
    found = [f"{room.number} {name}" for room in house.rooms() if room.module in MODULES
             for name in wants_example(room.module) if not lessons.examples(lessons.read(ROOT/"nbs"/room.file), name)]
    assert found == [], "\n" + "\n".join(found)


def test_a_missing_docment_is_found():
    def f(a,      # said
          b=1): "Doc."
    def g(a): pass
    assert undocumented("f", f) == ["f: b without a docment"] and undocumented("g", g) == ["g: no docstring", "g: a without a docment"]


# ---- packages

# modules that come with a package of another name; kagglesdk with kaggle, and so on: their makers ship them together
PACKAGE = {"cv2": "opencv-python-headless", "PIL": "pillow", "dicomanonymizer": "dicom-anonymizer", "kagglesdk": "kaggle",
           "segmentation_models_pytorch": "segmentation-models-pytorch", "huggingface_hub": "huggingface-hub", "_gdcm": "python-gdcm", "gdcm": "python-gdcm"}


def foreign(path: Path) -> set[str]:
    "Top-level names of what a file imports from other packages, inside functions too."
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import): found |= {a.name.split(".")[0] for a in node.names}
        if isinstance(node, ast.ImportFrom) and node.level == 0: found.add(node.module.split(".")[0])
    return {PACKAGE.get(n, n) for n in found - set(sys.stdlib_module_names) - {"covid_nbdev"}}


def declared(lines: list[str]) -> dict[str, SpecifierSet]:
    return {r.name.lower().replace("_", "-"): r.specifier for r in (Requirement(line) for line in lines)}


def test_everything_imported_is_declared():
    project = tomllib.loads((ROOT/"pyproject.toml").read_text())["project"]
    known = declared(project["dependencies"])
    missing = {f"{m}: {name}" for m in MODULES for name in foreign(ROOT/"covid_nbdev"/f"{m}.py") if name not in known}
    assert missing == set()


# as reported of Colab and of Kaggle in August 2026
SHIPPED = {"fastcore": ["1.12.3", "2.2"], "ipywidgets": ["7.7.1", "8.1.5"], "torch": ["2.10.0"], "albumentations": ["2.0.8"]}
OPEN = {"fastcore", "ipywidgets", "numpy", "torch", "albumentations", "pydicom", "accelerate", "kaggle", "pandas", "matplotlib", "scipy", "pillow"}


def test_what_colab_and_kaggle_ship_is_left_alone():
    "No upper bound on what they bring, and no lower one above it."
    known = declared(tomllib.loads((ROOT/"pyproject.toml").read_text())["project"]["dependencies"])
    for name, versions in SHIPPED.items(): assert all(known[name].contains(v) for v in versions), name
    capped = {n for n in OPEN if any(s.operator in ("<", "<=", "==", "~=") for s in known.get(n, ()))}
    assert capped == set()


def test_settings_and_pyproject_agree():
    ini = ConfigParser(); ini.read(ROOT/"settings.ini"); ini = ini["DEFAULT"]
    project = tomllib.loads((ROOT/"pyproject.toml").read_text())["project"]
    assert project["name"] == ini["lib_name"] and project["requires-python"] == f">={ini['min_python']}"
    assert project["description"] == ini["description"]
    import covid_nbdev
    assert covid_nbdev.__version__ == ini["version"]
    assert project["entry-points"]["nbdev"] == {"covid_nbdev": "covid_nbdev._modidx:d"}


def test_every_command_exists_and_has_an_example():
    "pip's scripts themselves, one after the other in one process: each would import the same again."
    scripts = tomllib.loads((ROOT/"pyproject.toml").read_text())["project"]["scripts"]
    code = """import runpy, sys
for path in sys.argv[1:]:
    sys.argv = [path, "--help"]
    try: runpy.run_path(path, run_name="__main__")
    except SystemExit as e: print("status", e.code, flush=True)"""
    out = subprocess.run([sys.executable, "-c", code, *(BIN/name for name in scripts)], capture_output=True, text=True)
    shown = out.stdout.split("status 0\n")
    assert shown.pop() == "" and len(shown) == len(scripts), out
    for name, text in zip(scripts, shown): assert f"example:\n  {name}" in text, name


def test_quarto_settings_are_one_file(): assert os.readlink(ROOT/"nbs"/"_quarto.yml") == "../_quarto.yml"


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_notebook_in_form(path):
    "Title, figure, saved outputs, no warnings or errors kept, imports apart, nothing skipped, no path of a machine."
    nb = lessons.read(path)
    code = [c for c in nb.cells if c.cell_type == "code" and c.source.strip()]
    prose = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    assert re.search(r"^# .+\n\n> .+", prose), "an H1 and a > subtitle come first"
    outputs = [o for c in code for o in c.outputs]
    if not lessons.is_workshop(path):
        assert len(prose.split()) >= 400
        assert any("image/png" in o.get("data", {}) for o in outputs), "no saved figure"
    assert not [o for o in outputs if o.output_type == "error"] and not [o for o in outputs if o.get("name") == "stderr"]
    assert not lessons.ABSOLUTE.search("\n".join(t for c in code for t in lessons.texts(c)))
    for c in code:
        if lessons.is_skipped(c): assert re.search(r"nbdev_export\(|twine|kaggle .*push", c.source), "only export or publish"
        lines = [l for l in c.source.splitlines() if l.strip() and not l.startswith(("#", "%"))]
        is_import = [bool(re.match(r"(from|import) ", l)) for l in lines]
        if any(is_import) and "#| hide" not in c.source:
            tree = ast.parse(c.source)
            kinds = (ast.Import, ast.ImportFrom)
            mixed = [n for n in tree.body if not isinstance(n, kinds)]
            assert all("os.environ" in ast.unparse(n) for n in mixed), f"import mixed with code: {c.source[:80]}"
        if any("image/png" in o.get("data", {}) for o in c.outputs): assert "#| fig-alt:" in c.source, c.source[:80]


def tracked() -> list[Path]:
    out = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    names = out.stdout.split("\0") if out.returncode == 0 else [str(p.relative_to(ROOT)) for p in ROOT.glob("*/*")]
    return [ROOT/n for n in names if n and (ROOT/n).is_file()]


def test_nothing_foreign_is_tracked():
    "No data, no weights but the book's (computed patients alone: benchmarks/book.py), nothing large."
    for p in tracked():
        if p == ROOT/"covid_nbdev"/"book.safetensors": continue
        assert not p.name.endswith((".npy", ".npz", ".dcm", ".nii", ".gz", ".pt", ".pth", ".safetensors", ".zip")), p
        assert p.stat().st_size < 2_000_000, p


def test_modidx_names_every_export():
    "Backtick links in the docs need it."
    text = (ROOT/"covid_nbdev"/"_modidx.py").read_text()
    modules = [p.stem for p in (ROOT/"covid_nbdev").glob("[a-z]*.py")]
    assert len(modules) >= 12
    for name in modules: assert f"covid_nbdev/{name}.py" in text, name
