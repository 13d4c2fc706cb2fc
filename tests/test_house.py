"""The house: notebooks, export, README and settings agree; layers are kept; nothing foreign is in the repository."""
import ast, filecmp, json, os, re, shutil, subprocess, sys, tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest

import lessons, readme
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


def imports(path) -> set[str]:
    "All modules a file imports, inside functions too."
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import): found |= {a.name for a in node.names}
        if isinstance(node, ast.ImportFrom) and node.module: found.add(node.module)
    return found


def test_modules_import_from_lower_numbers_only():
    order = [p.stem.split("_", 1)[1] for p in LESSONS if p.stem[0].isdigit()]
    modules = [m for m in order if (ROOT/"covid_nbdev"/f"{m}.py").is_file()]
    assert len(modules) >= 12
    for i, module in enumerate(modules):
        used = {name.split(".")[1] for name in imports(ROOT/"covid_nbdev"/f"{module}.py") if name.startswith("covid_nbdev.")}
        assert used <= set(modules[:i]), f"{module} imports from {used - set(modules[:i])}"


def test_no_module_without_a_lesson():
    named = {p.stem.split("_", 1)[1] for p in LESSONS}
    assert {p.stem for p in (ROOT/"covid_nbdev").glob("[a-z]*.py")} <= named


def test_light_modules_do_not_import_torch():
    light = "hu masks metrics phantom etl eda scans kaggle privacy cli".split()
    code = f"import sys; {'; '.join(f'import covid_nbdev.{m}' for m in light)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_settings_and_pyproject_agree():
    ini = ConfigParser(); ini.read(ROOT/"settings.ini"); ini = ini["DEFAULT"]
    project = tomllib.loads((ROOT/"pyproject.toml").read_text())["project"]
    assert project["name"] == ini["lib_name"] and project["requires-python"] == f">={ini['min_python']}"
    assert project["description"] == ini["description"]
    import covid_nbdev
    assert covid_nbdev.__version__ == ini["version"]
    assert project["entry-points"]["nbdev"] == {"covid_nbdev": "covid_nbdev._modidx:d"}


def test_every_command_exists_and_has_an_example():
    scripts = tomllib.loads((ROOT/"pyproject.toml").read_text())["project"]["scripts"]
    for name in scripts:
        out = subprocess.run([BIN/name, "--help"], capture_output=True, text=True)
        assert out.returncode == 0 and f"example:\n  {name}" in out.stdout, name


def test_quarto_settings_are_one_file(): assert os.readlink(ROOT/"nbs"/"_quarto.yml") == "../_quarto.yml"


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_lesson_in_form(path):
    "Title, figure, saved outputs, no warnings or errors kept, imports apart, nothing skipped, no path of a machine."
    nb = lessons.read(path)
    code = [c for c in nb.cells if c.cell_type == "code" and c.source.strip()]
    prose = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    assert re.search(r"^# .+\n\n> .+", prose), "an H1 and a > subtitle come first"
    assert len(prose.split()) >= 400
    outputs = [o for c in code for o in c.outputs]
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
    "No data, no weights, nothing large."
    for p in tracked():
        assert not p.name.endswith((".npy", ".npz", ".dcm", ".nii", ".gz", ".pt", ".pth", ".safetensors", ".zip")), p
        assert p.stat().st_size < 2_000_000, p


def test_modidx_names_every_export():
    "Backtick links in the docs need it."
    text = (ROOT/"covid_nbdev"/"_modidx.py").read_text()
    modules = [p.stem for p in (ROOT/"covid_nbdev").glob("[a-z]*.py")]
    assert len(modules) >= 12
    for name in modules: assert f"covid_nbdev/{name}.py" in text, name
