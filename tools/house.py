"""The house: its parts, its notebooks with number and title, its modules and what they import from each other.

The parts stand here alone: the sidebar, the index's table (by a test), the map and the import rule take them from here.
"""
import ast, functools, re
from dataclasses import dataclass
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
PARTS = {"See": (0, 3), "Data": (4, 8), "Learn": (9, 15), "Judge": (16, 18), "Into the world": (19, 23)}
# What may import what within one number. Besides, a module imports from lower numbers only.
WITHIN = {"03a": ["03"], "04": ["04a"], "04a": ["04b", "04c", "04d"], "04c": ["04b"], "04d": ["04b"], "05": ["05a"], "12": ["12a"],
          "14": ["14b"], "14a": ["14", "14b"],
          "14c": ["14", "14a"], "19": ["19a", "19c", "19d"], "19a": ["19b", "19c"], "19d": ["19c"],
          "20a": ["20"], "22a": ["22"], "23": ["23a"]}


@dataclass(frozen=True)
class Room:
    "A notebook of the book."
    file: str       # 03_metrics.ipynb
    title: str      # its H1
    subtitle: str   # the line below, without >

    @property
    def number(self) -> str: return self.file.split("_")[0]
    @property
    def module(self) -> str: return Path(self.file).stem.split("_", 1)[1]
    @property
    def page(self) -> str: return f"{self.module}.html"
    @property
    def workshop(self) -> bool: return self.number[-1].isalpha()
    @property
    def name(self) -> str: return f"{self.number} {self.title}"      # the one name of a notebook, everywhere
    @property
    def label(self) -> str: return self.name + " (workshop)"*self.workshop
    @property
    def part(self) -> str: return next(p for p, (first, last) in PARTS.items() if first <= int(self.number[:2]) <= last)


@functools.cache
def rooms(nbs: Path = ROOT/"nbs") -> list[Room]:
    "All lessons and workshops, by number."
    found = []
    for path in sorted(nbs.glob("[0-9]*.ipynb")):
        text = next(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown")
        head = re.match(r"# (.+)\n+> (.+)", text)
        if not head: raise ValueError(f"{path.name}: found no # title with a > subtitle below it")
        found.append(Room(path.name, head[1].strip(), head[2].strip()))
    return found


def contents(nbs: Path = ROOT/"nbs") -> list[tuple[str, list[Room], list[Room]]]:
    "Part by part: its lessons, and its workshops, which are folded away."
    every = rooms(nbs)
    return [(part, [r for r in every if r.part == part and not r.workshop], [r for r in every if r.part == part and r.workshop])
            for part in PARTS]


# ---- imports

def imports(path: Path, package: str = "covid_nbdev") -> set[str]:
    "Modules of the package that one of its files imports: relatively or not, inside functions or not."
    siblings, found = {p.stem for p in path.parent.glob("*.py")}, set()
    def inside(dotted: str, names=()):      # of the package: the module itself, or what is taken from __init__
        head = dotted.split(".")[0]
        found.update([head] if head else [n for n in names if n in siblings])
    def absolute(dotted: str, names=()):
        if dotted.split(".")[0] == package: inside(dotted.partition(".")[2], names)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for a in node.names: absolute(a.name)
        if isinstance(node, ast.ImportFrom):
            names = [a.name for a in node.names]
            if node.level == 1: inside(node.module or "", names)
            elif node.level == 0: absolute(node.module, names)
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__") and node.args:
            name = getattr(node.args[0], "value", None)
            if isinstance(name, str): inside(name[1:]) if name.startswith(".") else absolute(name)
    return found - {path.stem}      # another process may import a module by its own name


def graph(folder: Path, numbers: dict[str, str]) -> dict[str, list[str]]:
    "Each module of the package, by number, and those it imports."
    order = sorted((m for m in numbers if (folder/f"{m}.py").is_file()), key=numbers.get)
    return {m: sorted(imports(folder/f"{m}.py", folder.name), key=lambda n: numbers.get(n, "")) for m in order}


def against_the_rule(folder: Path, numbers: dict[str, str]) -> list[str]:
    "Imports that go up, or along no arrow within one number."
    found = []
    for module, used in graph(folder, numbers).items():
        here = numbers[module]
        for other in used:
            there = numbers.get(other)
            if there is None: found.append(f"{here} {module} imports {other}, which has no notebook")
            elif there[:2] >= here[:2] and there not in WITHIN.get(here, ()): found.append(f"{here} {module} imports {there} {other}")
    return found


def circles(arrows: dict[str, list[str]]) -> list[str]:
    "Arrows that remain when everything that leads nowhere is taken away, again and again."
    left = {k: set(v) for k, v in arrows.items()}
    while ends := [k for k, v in left.items() if not v & left.keys()]:
        for k in ends: del left[k]
    return sorted(left)
