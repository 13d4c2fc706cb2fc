"""README.md from nbs/index.ipynb, with nbconvert (Quarto, which nbdev_readme needs, can't be had from PyPI).

    python tools/readme.py --write    write README.md and its pictures
    python tools/readme.py            say whether they are up to date: exit status 1 if not
"""
import re, sys
from html import unescape
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
PICTURES = Path(".github/readme")
HEAD = "<!-- Made from nbs/index.ipynb by `make readme`: edit that, not this. -->\n\n"


def still(output):
    "A figure that plays, which GitHub can't: its still picture."
    html = output.data["text/html"]
    png, alt = re.search(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]*)"', html).groups()
    return nbformat.v4.new_output("display_data", {"image/png": png}, metadata={"alt": unescape(alt) + " On the site one can draw on it."})


def visible(nb):
    "The notebook without hidden cells and without nbdev's and Quarto's comment lines."
    nb.metadata["language_info"] = {"name": "python"}   # nbdev_clean drops it; code fences want it
    nb.cells = [c for c in nb.cells if not re.match(r"#\|\s*hide\s*$", c.source, re.M)]
    for c in nb.cells:
        if c.cell_type != "code": continue
        alt = re.search(r'#\| fig-alt: "(.*)"', c.source)
        c.outputs = [still(o) if "data-covid-play" in o.get("data", {}).get("text/html", "") else o for o in c.outputs]
        for o in c.outputs:
            if alt: o.setdefault("metadata", {})["alt"] = alt[1]
            if "image/png" in o.get("data", {}): o.data.pop("text/plain", None)
        fold = re.search(r'^#\| code-summary: "(.*)"', c.source, re.M)
        c.source = (f"#| {fold[1]}\n" if fold else "") + re.sub(r"^#\|.*\n", "", c.source, flags=re.M)
    return nb


def make() -> dict[str, bytes]:
    "README.md and its pictures: path in the repository -> content."
    nb = visible(nbformat.read(ROOT/"nbs"/"index.ipynb", as_version=4))
    alts = [o.metadata["alt"] for c in nb.cells if c.cell_type == "code" for o in c.outputs if "alt" in o.get("metadata", {})]
    exporter = MarkdownExporter()
    text, resources = exporter.from_notebook_node(nb, {"unique_key": "index", "output_files_dir": str(PICTURES)})
    for alt in alts: text = text.replace("![png](", f"![{alt}](", 1)
    # GitHub knows no Quarto callouts and no code-fold, but it folds <details>
    text = re.sub(r"^```python\n#\| ([^\n]+)\n(.*?)^```$", r"<details><summary>\1</summary>\n\n```python\n\2```\n\n</details>", text, flags=re.M | re.S)
    text = re.sub(r"::: \{\.callout[^}]*\}\n## (.+)\n(.*?)\n:::", r"<details><summary>\1</summary>\n\n\2\n\n</details>", text, flags=re.S)
    # links between pages lead to their sources
    text = re.sub(r"\]\((\d\d[a-z]?_\w+\.ipynb|\w+\.qmd)", r"](nbs/\1", text)
    files = {name: data for name, data in resources["outputs"].items()}
    return {"README.md": (HEAD + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n").encode(), **files}


def stale() -> list[str]:
    "Files that differ from what index.ipynb makes."
    return [name for name, data in make().items() if not (ROOT/name).is_file() or (ROOT/name).read_bytes() != data]


def main():
    if "--write" in sys.argv:
        for old in (ROOT/PICTURES).glob("*.png"): old.unlink()
        for name, data in make().items():
            (ROOT/name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT/name).write_bytes(data)
        return print(f"wrote {', '.join(make())}")
    if names := stale(): sys.exit(f"not made from nbs/index.ipynb as it is: {', '.join(names)}: run `make readme`")
    print("README.md is up to date")


if __name__ == "__main__": main()
