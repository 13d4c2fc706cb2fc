"""The documentation site, from nbs/ into _docs/.

    python tools/docs.py                 with Quarto on PATH nbdev's own nbdev_docs; without it, by packages from PyPI alone
    python tools/docs.py --pip           the second way, Quarto or not: what tests/test_site.py looks at
    python tools/docs.py --serve         build, then show the site on localhost; Ctrl-C ends it
    python tools/docs.py --names         write nbs/sidebar.yml alone, as every build does; and names and minutes into the index's table

No lesson is run again: pages show the saved outputs. nbdev does execute what it needs for the reference, the exported
cells and the imports. What the two ways do differently stands in CONTRIBUTING.md.
"""
import argparse, functools, http.server, os, re, shutil, subprocess, sys, tempfile, time
from pathlib import Path
from xml.etree import ElementTree

sys.modules["rfc3987_syntax"] = None    # where there is one, nbformat's import has it build a grammar: two seconds for nothing
import nbformat
import yaml

import cards
import house
import network_page
import poststep
from house import ROOT

PAGES = r"\.(?:ipynb|qmd|html)$"    # what becomes a page; stylesheets and pictures beside them don't


# ---- what both builds show beside each page, and follow for previous and next

BESIDES = {"The network under your fingers": "network.qmd", "Glossary": "glossary.qmd", "The deck, line by line": "deck.qmd", "References": "references.qmd"}


def sidebar() -> str:
    "nbs/sidebar.yml: the parts with their lessons; a part's workshops are folded below them."
    def entry(label, href): return {"text": label, "href": href}
    found = [entry("Home", "index.ipynb")]
    for part, lessons, workshops in house.contents():
        pages = [entry(r.label, r.file) for r in lessons]
        if workshops: pages.append({"section": "Workshops", "contents": [entry(r.label, r.file) for r in workshops]})
        found.append({"section": part, "contents": pages})
    found.append({"section": "To look up", "contents": [entry(*item) for item in BESIDES.items()]})
    return yaml.safe_dump({"website": {"sidebar": {"contents": found}}}, sort_keys=False, allow_unicode=True)


def labels() -> dict[str, str]:
    "What the sidebar calls each page."
    return {r.page: r.label for r in house.rooms()} | {Path(f).stem + ".html": label for label, f in BESIDES.items()} | {"index.html": "Home"}


# ---- with Quarto

def quarto():
    "What nbdev's own documentation does."
    # nbdev_docs would write README.md by Quarto if it were older than index.ipynb; ours is made by tools/readme.py
    os.utime(ROOT/"README.md")
    subprocess.run([sys.executable, "-c", "from nbdev.quarto import nbdev_docs; nbdev_docs()"], check=True)
    network_page.write(ROOT/"_docs")
    poststep.finish(ROOT/"_docs", labels())
    return ROOT/"_docs"


# ---- by packages from PyPI

def processed() -> Path:
    "Run nbdev's processors, as nbdev_docs does before it calls Quarto: the folder with the processed notebooks."
    import nbdev.doclinks
    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs
    refresh_quarto_yml()
    nbdev.doclinks._build_modidx()
    # nbdev keeps what it processed earlier, also when the source is gone
    for old in (ROOT/"_proc").glob("*"):
        if old.is_dir(): shutil.rmtree(old)
        elif not (ROOT/"nbs"/old.name).exists(): old.unlink()
    return proc_nbs(ROOT/"nbs", n_workers=0)      # here: other processes would import torch first, each of them


def page_name(nb) -> str:
    "The page's name that nbdev wrote into the front matter, without .html."
    found = re.search(r"^output-file: (\S+)\.html$", nb.cells[0].source, re.M)
    return found[1] if found else ""


CODE_OR_MATH = re.compile(r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)`*[ \t]*$|(?P<tick>`+)(?!`).+?(?<!`)(?P=tick)(?!`)"
                          r"|(?<!\\)\$\$(?P<display>.+?)\$\$|(?<![\\$])\$(?P<inline>(?=\S)[^$]+?(?<=\S))\$(?!\d)", re.M | re.S)


@functools.cache
def tex_commands() -> set[str]:
    "What latex2mathml knows: it draws an unknown command as text, or drops it, without a word."
    from latex2mathml import commands, symbols_parser
    known = set(symbols_parser.SYMBOLS or symbols_parser.parse_symbols())
    for value in vars(commands).values():
        if isinstance(value, str): known.add(value)
        elif isinstance(value, (tuple, list, set, frozenset, dict)): known |= {v for v in value if isinstance(v, str)}
    return known


CHILDREN = {"mfrac": 2, "mroot": 2, "msub": 2, "msup": 2, "msubsup": 3, "mover": 2, "munder": 2, "munderover": 3}


def mathml(tex: str, display: str) -> str:
    "A formula as MathML. Stops at what a typo makes of it."
    from latex2mathml.converter import convert
    unknown = [c for c in re.findall(r"\\[a-zA-Z]+", tex) if c not in tex_commands()]
    if unknown: raise ValueError(f"found {', '.join(unknown)} in the formula {tex}; expected TeX that latex2mathml knows: look for a typo")
    html = convert(tex, display=display)
    short = [e.tag.split("}")[1] for e in ElementTree.fromstring(html).iter() if len(e) != CHILDREN.get(e.tag.split("}")[1], len(e))]
    if short: raise ValueError(f"found {', '.join(short)} with parts missing in the formula {tex}: look for missing braces")
    return html


def math_to_html(text: str) -> str:
    "Markdown with its formulas as MathML: smalldocs would fetch KaTeX from a CDN. Code keeps its dollars."
    def one(m):
        if m["display"]: return f"\n\n```{{=html}}\n<p class=\"math display\">{mathml(m['display'].strip(), 'block')}</p>\n```\n\n"
        if m["inline"]: return mathml(m["inline"], "inline")
        return m[0]
    return CODE_OR_MATH.sub(one, text)


def for_smalldocs(text: str, names: dict[str, str]) -> str:
    "Markdown as smalldocs wants it: formulas, links to pages by their names."
    text = math_to_html(text)
    return re.sub(r"\]\(([\w.]+\.ipynb)", lambda m: f"]({names.get(m[1], m[1])}", text)


def stage(source: Path, dest: Path):
    "Copy the processed pages to `dest` in the form that smalldocs renders."
    notebooks = {p.name: nbformat.read(p, as_version=4) for p in sorted(source.glob("*.ipynb"))}
    names = {name: f"{page_name(nb) or Path(name).stem}.ipynb" for name, nb in notebooks.items()}
    mended = functools.partial(for_smalldocs, names=names)
    for name, nb in notebooks.items():
        for c in nb.cells:
            if c.cell_type == "markdown": c.source = mended(c.source)
            for o in c.get("outputs", []):
                if "text/markdown" in o.get("data", {}): o.data["text/markdown"] = mended(o.data["text/markdown"])
        nb.metadata.pop("widgets", None)    # of no use without a kernel, and large
        nbformat.write(nb, dest/names[name])
    for p in source.iterdir():
        if p.suffix == ".ipynb" or not p.is_file(): continue
        if p.suffix == ".qmd": (dest/p.name).write_text(mended(p.read_text()))
        elif p.suffix == ".yml": (dest/p.name).write_text(re.sub(r"\b[\w.]+\.ipynb", lambda m: names.get(m[0], m[0]), p.read_text()))
        else: shutil.copy(p, dest)
    cards.write(dest/"cards.apkg")      # the glossary links to it


def pip_only(out: Path):
    "Render with smalldocs into `out`; a site that was there is replaced once the new one is complete."
    from smalldocs import highlight
    from smalldocs.site import build
    highlight.css_class = functools.cache(highlight.css_class)      # asked 170,000 times for a few hundred answers
    highlight.get_lexer_by_name = functools.cache(highlight.get_lexer_by_name)
    nbformat.validate = lambda *args, **kwargs: None      # each time a notebook is read or written; it would be logged, no more. test_form looks at all
    source = processed()
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".docs-") as tmp:
        stage(source, Path(tmp))
        site = build(tmp, quiet=True)
        warnings = [w for w in site.warnings if not re.search("html-math-method|output-file|respect-user-color|html.grid", w)]    # done in stage(), styles.css
        for w in warnings: print(f"warning: {w}", file=sys.stderr)
        network_page.write(site.out)
        poststep.finish(site.out, labels())
        shutil.rmtree(out, ignore_errors=True)
        shutil.move(site.out, out)
    return out


def minutes(nb) -> int:
    "How long a lesson takes: 200 words a minute, half a minute for each code cell that is shown, 5 for each exercise."
    prose = [c.source for c in nb.cells if c.cell_type == "markdown"]
    words = sum(len(text.split()) for text in prose)
    cells = sum(c.cell_type == "code" and not re.search(r"^#\| (hide|code-fold)", c.source, re.M) for c in nb.cells)
    exercises = sum(len(re.findall(r"^\*\*\d+\.\*\*", text, re.M)) for text in prose)
    return round((words/200 + cells/2 + 5*exercises)/5)*5


def write_index():
    "Each notebook's name and its minutes in the table of nbs/index.ipynb; what one learns there is written by hand."
    path, rooms = ROOT/"nbs"/"index.ipynb", {r.file: r for r in house.rooms()}
    nb = nbformat.read(path, as_version=4)
    table = next(c for c in nb.cells if c.source.startswith("| part |") or "\n| part |" in c.source)
    text = re.sub(r"\[\d\d[^\]]*\]\((\w+\.ipynb)\)", lambda m: f"[{rooms[m[1]].name}]({m[1]})" if m[1] in rooms else m[0], table.source)
    def timed(m):
        lesson = nbformat.read(ROOT/"nbs"/m[2], as_version=4)
        return f"{m[1]}{minutes(lesson) if any('## Exercises' in c.source for c in lesson.cells) else m[3]} |"
    text = re.sub(r"^(\| .*\((\w+\.ipynb)\).*\| )(\d+) \|$", timed, text, flags=re.M)
    if text == table.source: return
    table.source = text
    nbformat.write(nb, path)


def serve(folder: Path, port: int):
    "Show the site on localhost until Ctrl-C."
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)", flush=True)
        try: server.serve_forever()
        except KeyboardInterrupt: print()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--pip", action="store_true", help="without Quarto, even where there is one")
    p.add_argument("--out", type=Path, metavar="FOLDER", default=ROOT/"_docs", help="where to, with --pip")
    p.add_argument("--names", action="store_true", help="write nbs/sidebar.yml, and names and minutes in the index's table")
    p.add_argument("--serve", nargs="?", type=int, const=8000, metavar="PORT", help="then show it on localhost (port 8000)")
    a = p.parse_args()
    os.chdir(ROOT)    # nbdev looks for settings.ini from here
    start = time.time()
    (ROOT/"nbs"/"sidebar.yml").write_text(sidebar(), encoding="utf-8")
    if a.names: return write_index()
    if shutil.which("quarto") and not a.pip:
        out, how = quarto(), "Quarto (nbdev_docs)"
        cards.write(out/"cards.apkg")
    else:
        try: out, how = pip_only(a.out.resolve()), "smalldocs (packages from PyPI alone; Quarto not used)"
        except ValueError as e: sys.exit(f"the site was not built: {e}")
    print(f"{len(list(out.glob('*.html')))} pages in {out.name}/ by {how}, {time.time() - start:.0f} s")
    if a.serve is not None: serve(out, a.serve)


if __name__ == "__main__": main()
