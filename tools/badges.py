"""Badges that open a notebook in Colab or on Kaggle, and the hidden cell that installs the package there.

    python tools/badges.py --write [NAME ...]   put both into every notebook (or those named); again: no change
    python tools/badges.py                      say which notebooks lack them: exit status 1 if any
"""
import argparse, hashlib, sys
from configparser import ConfigParser
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
INSTALL_HEAD = "#| hide\n# Colab and Kaggle may lack the package"


def repository() -> str:
    "owner/name on GitHub, from settings.ini."
    ini = ConfigParser(); ini.read(ROOT/"settings.ini")
    return ini["DEFAULT"]["git_url"].removeprefix("https://github.com/")


def badges(name: str) -> str:
    "Two pictures that are links. The index's lead to the first lesson."
    page = f"https://github.com/{repository()}/blob/main/nbs/{'00_first_model' if name == 'index' else name}.ipynb"
    colab = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({page.replace('github.com', 'colab.research.google.com/github')})"
    kaggle = f"[![Run on Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src={page})"
    return ("Start with lesson 0, without installing anything: " if name == "index" else "") + f"{colab} {kaggle}"


def install() -> str:
    "The cell's source. Kaggle needs its internet switched on for it; a kernel made by covid_kernel doesn't."
    return (f"{INSTALL_HEAD}: then it is installed. Elsewhere this does nothing.\n"
            "from importlib.util import find_spec\n"
            'if find_spec("covid_nbdev") is None:\n'
            f"    %pip install -q git+https://github.com/{repository()}")


def is_badge(c) -> bool: return c.cell_type == "markdown" and "[![Open in Colab]" in c.source
def is_install(c) -> bool: return c.cell_type == "code" and c.source.startswith(INSTALL_HEAD)


def add(nb, name: str):
    "The notebook with both: badges after the title's cell, the installation as the first code cell."
    cells = [c for c in nb.cells if not (is_badge(c) or is_install(c))]
    title = next(i for i, c in enumerate(cells) if c.cell_type == "markdown")
    def cell(make, source, kind): return make(source, id=hashlib.sha1(f"{kind} {name}".encode()).hexdigest()[:8])
    cells.insert(title + 1, cell(nbformat.v4.new_markdown_cell, badges(name), "badges"))
    # `#| default_exp` runs nothing, and nbdev wants to find it early: so it stays where it is
    first = next(i for i, c in enumerate(cells) if c.cell_type == "code" and "#| default_exp" not in c.source)
    cells.insert(first, cell(nbformat.v4.new_code_cell, install(), "install"))
    nb.cells = cells
    return nb


def stale(path: Path) -> bool:
    "Would writing change anything?"
    nb = nbformat.read(path, as_version=4)
    before = [(c.cell_type, c.source) for c in nb.cells]
    return before != [(c.cell_type, c.source) for c in add(nb, path.stem).cells]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--write", nargs="*", metavar="NAME")
    a = p.parse_args()
    import lessons
    paths = lessons.lessons()
    if a.write is None:
        if names := [path.stem for path in paths if stale(path)]:
            sys.exit(f"badges or installation missing in {', '.join(names)}: run python tools/badges.py --write")
        return print("badges are up to date")
    for path in paths:
        if (not a.write or path.stem in a.write) and stale(path):
            nb = nbformat.read(path, as_version=4)
            nbformat.write(add(nb, path.stem), path)
            print(path.name)


if __name__ == "__main__": main()
