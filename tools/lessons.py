"""Run the lessons in a real Jupyter kernel, and keep or compare what they print.

    python tools/lessons.py --write [NAME ...]   run lessons (all, or those named) and save their outputs
    python tools/lessons.py --text FILE          print a notebook as text: what `git diff` shows (see .gitattributes)

`make test` runs every lesson afresh and compares its text outputs with the saved ones. Cells tagged `varies` are left
out of that comparison: timings, and numbers that come out of training, are not the same on another machine.
"""
import argparse, ast, functools, json, os, re, sys
from pathlib import Path

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/"tests"/"support"))
import probes, warm_kernel
from patience import PatientClient

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT/"nbs"
ABSOLUTE = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|work|Users|var|opt|kaggle/working)/[\w./-]+")


def lessons() -> list[Path]:
    "Every notebook of the book, lessons and workshops by their numbers, the index last."
    return sorted(NBS.glob("[0-9]*.ipynb")) + [NBS/"index.ipynb"]


def is_workshop(path: Path) -> bool: return bool(re.match(r"\d\d[a-z]_", path.name))


def read(path: Path): return nbformat.read(path, as_version=4)


def is_skipped(cell) -> bool:
    "Does nbdev_test leave this code cell out? Only cells that export or publish may ask for that."
    return bool(re.search(r"^#\|\s*eval:\s*false", cell.source, re.M)) or "nbdev_export(" in cell.source


def exported_names(nb) -> list[str]:
    "Public names that the notebook's `#| export` cells define."
    names = []
    for c in nb.cells:
        if c.cell_type != "code" or not is_exported(c): continue
        for node in ast.parse(c.source).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not any("patch" in ast.unparse(d) for d in node.decorator_list):
                names.append(node.name)
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
            names += [t.id for t in targets if isinstance(t, ast.Name)]
    return [n for n in names if not n.startswith("_")]


def is_exported(cell) -> bool: return bool(re.search(r"^#\|\s*export", cell.source, re.M))


def examples(nb, name: str) -> list[str]:
    "Code cells that use a name, neither exporting nor importing it, as shown on the page or hidden there."
    used = re.compile(rf"\b{name}\b")
    cells = [c for c in nb.cells if c.cell_type == "code" and not is_exported(c)]
    return [c.source for c in cells if used.search(re.sub(r"#.*|^\s*(?:from .* )?import .*(?:\n    .*)*", "", c.source, flags=re.M))]


def is_solution(cell) -> bool:
    "A code cell that answers an exercise."
    return cell.cell_type == "code" and bool(re.search(r'^#\| code-summary: "Solution', cell.source, re.M))


def explorers(cell) -> list[str]:
    "Names of the explorers that a code cell makes."
    return re.findall(r"^(explorer\w*) = ", cell.source, re.M) if cell.cell_type == "code" else []


def _with_probes(nb) -> list:
    "The cells, each explorer followed by a cell that plays with it, each solution by one that tries it on damaged functions."
    names, cells = exported_names(nb), []
    for c in nb.cells:
        cells.append(c)
        calls = [f"_probes.explorer({name!r}, {name})" for name in explorers(c)]
        if is_solution(c): calls.append(f"_probes.solution({c.id!r}, {c.source!r}, {names!r}, globals())")
        if calls: cells.append(nbformat.v4.new_code_cell("\n".join(["import probes as _probes", *calls])))
    return cells


def run(path: Path, timeout_s: int = 600, probe: bool = False):
    """Execute a notebook from top to bottom in a new kernel; its executed copy. Raises at the first cell that fails.
    With `probe`, its explorers and solutions are tried as well: what was found is a list, `metadata.probes`."""
    return run_cells(read(path), timeout_s, probe)


def environment() -> dict:
    "A kernel's: lessons are saved with the phantom, without progress bars, as nbdev_test runs them."
    return {**os.environ, "IN_TEST": "1", "TQDM_DISABLE": "1", "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT/"tests"/"support")])}


@functools.cache
def warm() -> list[str]:
    "The command of a kernel that needn't import torch. The processes of one test run share what it is forked from."
    shared = "PYTEST_XDIST_WORKER" in os.environ      # conftest.py: its temporary files lie two folders below what they share
    return warm_kernel.start(environment(), str(Path(os.environ["TMPDIR"]).parents[1]/"warm") if shared else "")


def run_cells(nb, timeout_s: int = 600, probe: bool = False, data: Path | str = ""):
    "`run`, for a notebook in memory. `data`: a folder in Kaggle's layout, for the lessons that use one where it is named."
    for c in nb.cells:
        if c.cell_type == "code": c.outputs, c.execution_count = [], None
    kept = list(nb.cells)
    nb.cells = [c for c in (_with_probes(nb) if probe else kept) if not (c.cell_type == "code" and is_skipped(c))]
    env = environment() | {"COVID_DATA": str(data)}
    client = PatientClient(nb, timeout=timeout_s, startup_timeout=timeout_s, extra_arguments=["--log-level=40"],   # errors alone
                           resources={"metadata": {"path": str(NBS)}})
    if sys.platform == "linux": client.create_kernel_manager().kernel_spec.argv = warm()
    client.execute(env=env)
    if probe:
        ids = {c.id for c in kept}
        said = [line for c in nb.cells if c.id not in ids for t in texts(c) for line in t.splitlines()]
        nb.metadata["probes"] = [json.loads(line.split(probes.MARK)[1]) for line in said if probes.MARK in line]
    nb.cells = kept
    return nb


@functools.cache
def executed(path: Path):
    "A notebook's executed copy, with what the probes found in a lesson: several tests look at one run."
    return run(path, probe=not is_workshop(path))


def texts(cell) -> list[str]:
    "What a code cell printed or returned, as text; pictures count by their presence alone."
    out = []
    for o in cell.get("outputs", []):
        if o.output_type == "stream": out.append(f"{o.name}: {o.text}")
        elif o.output_type == "error": out.append(f"{o.ename}: {o.evalue}")
        else:
            data = o.get("data", {})
            out.append("picture" if "image/png" in data else re.sub(r" at 0x[0-9a-f]+", "", data.get("text/plain", "")))
    joined = []
    for t in out:    # one stream may arrive in several pieces
        if joined and t.startswith("stdout: ") and joined[-1].startswith("stdout: "): joined[-1] += t[len("stdout: "):]
        else: joined.append(t)
    return [t.rstrip() for t in joined]


def varies(cell) -> bool: return "varies" in cell.metadata.get("tags", [])


def as_text(nb) -> str:
    "A notebook as the text a person would compare: sources, and text outputs behind `# >`."
    parts = []
    for c in nb.cells:
        parts.append(f"--- {c.cell_type}\n{c.source}")
        if c.cell_type == "code":
            parts += ["\n".join("# > " + line for line in t.split("\n")) for t in texts(c)]
    return "\n".join(parts) + "\n"


def write(path: Path):
    "Run one lesson and save its outputs, as `nbdev_clean` leaves them."
    nb = run(path)
    found = ABSOLUTE.search("\n".join(t for c in nb.cells if c.cell_type == "code" for t in texts(c)))
    if found: sys.exit(f"{path.name}: an output shows the path {found[0]} of this machine: print names, not paths")
    from nbdev.clean import nbdev_clean
    nbformat.write(nb, path)
    os.chdir(ROOT)   # nbdev looks for settings.ini from here
    nbdev_clean(str(path))
    print(f"{path.name}: {sum(c.execution_count is not None for c in nb.cells if c.cell_type == 'code')} cells run")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--write", nargs="*", metavar="NAME", help="lessons to run and save, such as 01_hu; none: all")
    p.add_argument("--text", metavar="FILE", help="print this notebook as text")
    a = p.parse_args()
    if a.text: return print(as_text(read(Path(a.text))), end="")
    if a.write is None: return p.print_help()
    for path in lessons():
        if not a.write or path.stem in a.write: write(path)


if __name__ == "__main__": main()
