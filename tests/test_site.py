"""The site: the pip-only build, its files, and its pages as a reader gets them, served on localhost and driven in Debian's chromium.

Each page is loaded once. Tests look at all pages and list what is wrong on each. Those at the end damage a copy of the site,
so that a check that can't fail would be noticed.
"""
import contextlib, functools, html, http.server, os, re, shutil, subprocess, threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

import docs, house, lessons, poststep
from conftest import ROOT, note

WIDTHS = (1300, 390)
# the page's own sources, so that the list of tests is known before anything is built
SOURCES = [p for p in lessons.lessons()] + sorted((ROOT/"nbs").glob("*.qmd"))
NAMES = [re.sub(r"^\d\d[a-z]?_", "", p.stem) for p in SOURCES]
PAGES = dict(zip(NAMES, SOURCES))


@pytest.fixture(scope="session")
def site(tmp_path_factory, python) -> Path:
    "The whole site, built once, by packages from PyPI alone. COVID_SITE: a folder with a site, such as Quarto's, to look at instead."
    if os.environ.get("COVID_SITE"): return Path(os.environ["COVID_SITE"]).resolve()
    out = tmp_path_factory.mktemp("site")/"_docs"
    r = subprocess.run([python, ROOT/"tools"/"docs.py", "--pip", "--out", out], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr[-3000:]
    note(f"site: {r.stdout.strip().splitlines()[-1]}")
    assert "warning" not in r.stderr, r.stderr[-3000:]
    return out


class Quiet(http.server.SimpleHTTPRequestHandler):
    "As servers of sites do: one connection for many requests, and what all pages share is fetched once."
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def end_headers(self):
        if "/site_libs/" in self.path: self.send_header("Cache-Control", "max-age=3600")
        super().end_headers()


@contextlib.contextmanager
def folder_served(folder):
    "A folder's address on localhost."
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def served(site):
    "The site's address."
    with folder_served(site) as address: yield address


@pytest.fixture
def visit(browser, served):
    "visit(name, width): a page in a fresh context, or in the one of an earlier `page`. What it logs and fetches is in .said and .fetched."
    contexts = []
    def opened(scheme, options):
        context = browser.new_context(color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: page.said.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda e: page.said.append(f"error: {e}"))
        page.on("request", lambda r: page.fetched.append(r.url))
        return page
    def go(name, width=1300, scheme="light", page=None, **options):
        page = page or opened(scheme, options)
        page.set_viewport_size({"width": width, "height": 900})
        page.said, page.fetched = [], []
        response = page.goto(f"{served}/{name}.html", wait_until="load")
        assert response.status == 200
        return page
    yield go
    for c in contexts: c.close()


# ---- in the files

class Anatomy(HTMLParser):
    "Links, ids and visible words of a page."
    def __init__(self, text):
        super().__init__()
        self.links, self.ids, self.words, self.maths, self.inside = [], set(), [], [], []
        self.feed(re.sub(r'<span class="[a-z]{2}">([^<]*)</span>', r"\1", text))      # most elements are colored words of code

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "id" in attrs: self.ids.add(attrs["id"])
        for key in ("href", "src"):
            if attrs.get(key): self.links.append(attrs[key])
        if tag in ("script", "style", "pre", "code", "math", "textarea", "svg"): self.inside.append(tag)
        if tag == "math": self.maths.append("")

    def handle_endtag(self, tag):
        if self.inside and self.inside[-1] == tag: self.inside.pop()

    def handle_data(self, data):
        if "math" in self.inside: self.maths[-1] += data
        elif not self.inside: self.words.append(data)


anatomy_of = functools.cache(Anatomy)      # by its text: a copy of the site is read again where it was changed alone
def anatomy(path: Path) -> Anatomy: return anatomy_of(path.read_text())


def broken(folder: Path) -> list[str]:
    "Internal links and anchors that lead nowhere."
    pages, found = {p.resolve(): anatomy(p) for p in sorted(folder.glob("*.html"))}, []
    @functools.cache
    def target(path: str) -> Path | None:
        place = (folder/unquote(path)).resolve()
        if place.is_dir(): place /= "index.html"
        return place if place.is_file() else None
    for page, parsed in pages.items():
        for link in parsed.links:
            url = urlsplit(link)
            if url.scheme or url.netloc: continue
            place = target(url.path or page.name)
            if place is None: found.append(f"{page.name}: {link}: no such page")
            elif url.fragment and place.suffix == ".html" and unquote(url.fragment) not in (pages.get(place) or anatomy(place)).ids:
                found.append(f"{page.name}: {link}: no such place")
    return found


RAW = re.compile(r"\$\$|\\\(|\\\[|\\[a-zA-Z]{2,}|(?<!\w)\$\S[^$]*\S\$")    # what TeX leaves behind


def raw_formulas(path: Path) -> list[str]:
    "Formulas that are still TeX: in the text, or inside MathML."
    page = anatomy(path)
    return [m for text in (" ".join(page.words), *page.maths) for m in RAW.findall(text)]


def markdown(path: Path) -> str:
    "A source's prose."
    if path.suffix == ".qmd": return path.read_text()
    return "\n\n".join(c.source for c in lessons.read(path).cells if c.cell_type == "markdown")


def letters(text: str) -> str:
    "Only what is read: no marks, no quotes, no spaces."
    return re.sub(r"[\W_]+", "", text).lower()


def test_every_source_has_its_page(site):
    assert {p.stem for p in site.glob("*.html")} == set(NAMES)


def test_links_and_anchors_answer(site):
    assert broken(site) == []
    assert sum(len(anatomy(p).links) for p in site.glob("*.html")) > 500


# ---- parts, and one name for a notebook everywhere

def flat(contents: list) -> list[tuple[str, str]]:
    "The sidebar's entries in order: label and page, sections without one."
    found = []
    for e in contents:
        if "section" in e: found += [(e["section"], ""), *flat(e["contents"])]
        else: found.append((e["text"], re.sub(r"^(?:\d\d[a-z]?_)?(\w+)\.\w+$", r"\1.html", e["href"])))
    return found


def entries() -> list[tuple[str, str]]: return flat(yaml.safe_load(docs.sidebar())["website"]["sidebar"]["contents"])


def test_sidebar_holds_every_notebook_in_its_part():
    assert (ROOT/"nbs"/"sidebar.yml").read_text() == docs.sidebar(), "run python tools/docs.py --names"
    found = entries()
    assert sorted(page for _, page in found if page) == sorted(f"{n}.html" for n in NAMES)
    labels = [label for label, _ in found]
    for part, (first, last) in house.PARTS.items():
        below = labels[labels.index(part) + 1:]
        numbers = [label.split()[0] for label in below[:next((i for i, l in enumerate(below) if l in (*house.PARTS, "To look up")), None)] if label != "Workshops"]
        lessons_, workshops = [n for n in numbers if n.isdigit()], [n for n in numbers if not n.isdigit()]
        assert numbers == sorted(lessons_) + sorted(workshops) and all(first <= int(n[:2]) <= last for n in numbers), part
    for room in house.rooms(): assert (room.label, room.page) in found and room.label.endswith("(workshop)") == room.workshop


def test_index_lists_every_notebook_in_its_part():
    "By the same names, workshops marked; how long a lesson with exercises takes is right within a third."
    part, found, wrong = "", {}, []
    for first, kind, learned, minutes in re.findall(r"^\| (.*?) ?\| (.+) \| (.+) \| (\d*) ?\|$", markdown(ROOT/"nbs"/"index.ipynb"), re.M):
        part = first.strip("*") or part
        for name, file in re.findall(r"\[(\d\d[^\]]*)\]\((\w+\.ipynb)\)", kind + learned):
            found[file] = (part, name, kind == "*workshops*")
            expected = docs.minutes(lessons.read(ROOT/"nbs"/file))
            if minutes and file[:2] != "23" and abs(int(minutes) - expected) > 5 + expected/3: wrong.append(f"{file}: {minutes} minutes, should be about {expected}")
    assert found == {r.file: (r.part, r.name, r.workshop) for r in house.rooms()}, "run python tools/docs.py --names, then make readme"
    assert list(found) == [r.file for _, taught, workshops in house.contents() for r in (*taught, *workshops)] and wrong == []


NUMBERED = re.compile(r"\[[^\]]*?\b[Ll]essons? (\d+)[^\]]*\]\((\d+)[a-z]?_\w+\.ipynb|(?<![\w`])[Ll]essons? (\d+)(?:(?:, | and | to |–)(\d+))*")


def misnumbered(text: str) -> list[str]:
    "Lessons that are named by a number which is not theirs, or nobody's."
    known = {int(r.number) for r in house.rooms() if not r.workshop}
    found = [m[0] for m in NUMBERED.finditer(text) if m[2] and int(m[1]) != int(m[2])]
    return found + [m[0] for m in NUMBERED.finditer(text) for n in re.findall(r"\d+", m[0].split("](")[0]) if int(n) not in known]


def test_lessons_are_called_by_their_numbers():
    found = {p.name: misnumbered(markdown(p)) for p in SOURCES}
    assert {k: v for k, v in found.items() if v} == {}
    assert misnumbered("[lesson 5](06_eda.ipynb), [lesson 6](06_eda.ipynb), lessons 1, 2 and 99") == ["[lesson 5](06_eda.ipynb", "lessons 1, 2 and 99"]


def test_sidebar_and_previous_and_next_on_each_page(site):
    "As the sidebar says, in its order, by its names."
    wanted, wrong = entries(), []
    order = [e for e in wanted if e[1]]
    for i, (label, name) in enumerate(order):
        text = html.unescape((site/name).read_text())
        start = text.index('id="quarto-sidebar"')
        bar = text[start:text.index("</nav>", start)]
        shown = re.findall(r'<a [^>]*class="sidebar-item-text[^>]*><span class="menu-text">([^<]+)', bar)
        hrefs = [h.removeprefix("./") for h in re.findall(r'href="([^"#]+\.html)"', bar)]
        if shown != [l for l, _ in wanted] or hrefs != [h for _, h in order]: wrong.append(f"{name}: {shown}")
        links = re.findall(r'<a href="(?:\./)?(\w+\.html)" class="pagination-link">.*?nav-page-text">([^<]+)', text)
        if links != [(page, l) for l, page in order[max(i - 1, 0):i] + order[i + 1:i + 2]]: wrong.append(f"{name}: {links}")
    assert wrong == []


# ---- what the sources hold is on the pages

def lost(name: str, site: Path) -> list[str]:
    "Headings, formulas, pictures and code of a source that its page lacks; what stayed Markdown or TeX on it."
    source, path, found = PAGES[name], site/f"{name}.html", []
    page, text = anatomy(path), markdown(source)
    words = letters(" ".join(page.words))
    headings = [h for cell in text.split("\n\n") for h in re.findall(r"^#{1,4} (.+?)(?: \{.*\})?$", cell, re.M)]
    found += [f"heading {h}" for h in headings if letters(re.sub(r"`[^`]*`", "", h)) not in words]
    found += [f"raw {m}" for m in raw_formulas(path)]
    found += [f"Markdown {m}" for m in re.findall(r"\S*\]\(\S*|\*\*\w+", " ".join(page.words))]
    formulas = [m for m in docs.CODE_OR_MATH.finditer(text) if m["display"] or m["inline"]]
    if len(page.maths) != len(formulas) or not all(m.strip() for m in page.maths): found.append(f"{len(formulas)} formulas, {len(page.maths)} shown")
    if "**You will learn**" in text and "youwilllearn" not in words:
        found.append("the title's cell may hold the H1 and > subtitle alone: nbdev drops the rest")
    if source.suffix == ".qmd": return found
    cells = [c for c in lessons.read(source).cells if c.cell_type == "code"]
    saved = sum("image/png" in o.get("data", {}) for c in cells if "#| hide" not in c.source for o in c.outputs)
    pictures = sum(link.startswith("figures/") and "-dark" not in link for link in page.links)
    if pictures < saved: found.append(f"{saved} pictures, {pictures} shown")
    # `#| exports` shows the code below the signatures; `#| export` the signatures alone
    taught = [c.source for c in cells if c.source.startswith("#| exports\n")]
    text = path.read_text()
    if text.count("Exported source</summary>") != len(taught): found.append("not all that is taught is shown, or more")
    shown = letters(html.unescape(re.sub(r"<[^>]+>", "", text)))
    return found + [f"code {c[:60]}" for c in taught if letters(c.split("\n", 1)[1]) not in shown]


def test_nothing_is_lost_or_raw(site):
    assert {name: found for name in NAMES if (found := lost(name, site))} == {}


def test_names_in_backticks_lead_to_the_reference(site):
    "nbdev's own links, and on the page they lead to, the signature with its arguments."
    assert 'href="hu.html#standardizer"' in (site/"hu.html").read_text()
    hrefs = {h for p in site.glob("*.html") for h in anatomy(p).links if re.match(r"[a-z_]+\.html#[a-z_.]+$", h)}
    assert len(hrefs) >= 15
    text = (site/"hu.html").read_text()
    assert "mid-gray" in text[text.index('id="window"'):]     # a docment of `window`
    for p in site.glob("*.html"):
        assert poststep.BASE not in "".join(anatomy(p).links)
        assert not re.search(r"\]\([\w./:]+\.html", p.read_text()), f"{p.name}: a link that was not read as one"


def test_scripts_in_outputs_stay_whole():
    "A saved text/html output with a figure to play with arrives on the page byte for byte."
    from smalldocs.markdown import render
    from smalldocs.notebook import to_markdown
    html = '<figure data-covid-play="x"><canvas></canvas>\n\n<script>\nif (1 < 2 && "$a$") { a["b"] = `*_c_*`; }\n\n// end\n</script></figure>'
    nb = lessons.nbformat.v4.new_notebook()
    nb.cells = [lessons.nbformat.v4.new_code_cell("f()", outputs=[lessons.nbformat.v4.new_output("display_data", {"text/html": html})])]
    page = f"<main>{render(to_markdown(lessons.nbformat.writes(nb))[1], {})}</main>"
    for step in (poststep.nothing_from_elsewhere, poststep.outline, poststep.folded, poststep.marked, poststep.first_look): page = step(page)
    assert html in poststep.own_links(poststep.reachable(page, "x.html", {}), "x.html", {})


# ---- in the browser

WIDE = """w => [...document.querySelectorAll('main :is(img, canvas, figure, table, pre)')].filter(e => {
    const r = e.getBoundingClientRect(); let box = e.parentElement;
    while (box && !/auto|scroll/.test(getComputedStyle(box).overflowX)) box = box.parentElement;
    return r.width && r.right > w + 1 && !box; }).map(e => e.outerHTML.slice(0, 80))"""


# All of axe's rules take seconds a page, most of them for what all pages share: one of each kind is enough. The others: what a page's own
# content breaks, once, on a phone, where more of it scrolls sideways.
WHOLLY = ("index", "hu", "results", "core", "glossary")
CONTENT = ["image-alt", "label", "link-name", "button-name", "list", "svg-img-alt", "td-headers-attr", "scrollable-region-focusable", "aria-valid-attr-value",
           "meta-viewport"]


def too_wide(page, width: int) -> list[str]:
    "Sideways scrolling."
    page.set_viewport_size({"width": width, "height": 900})
    found = [f"{width}: wider, {w}" for w in page.evaluate(WIDE, width)]
    return found + [f"{width}: scrolls sideways"]*(page.evaluate("document.documentElement.scrollWidth") > width)


# Of a page's elements most are colored words of code. PALE looks at their colors; axe would take ten seconds for them, and finds nothing else there.
PLAIN_CODE = "document.querySelectorAll('main pre code').forEach(e => { e.colored = e.innerHTML; e.textContent = e.textContent; })"
COLORED_CODE = "document.querySelectorAll('main pre code').forEach(e => { e.innerHTML = e.colored; })"


def serious(page, **options) -> list[str]:
    "What axe finds serious."
    from axe_playwright_python.sync_playwright import Axe
    violations = Axe().run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html'][:150]}" for v in violations if v["impact"] in ("serious", "critical")]


# Text that is too pale for what lies behind it. axe looks into this, too, but needs seconds a page.
PALE = """() => {
    const numbers = c => c.match(/[\\d.]+/g).map(Number), canvas = getComputedStyle(document.body).backgroundColor;
    const light = c => numbers(c).slice(0, 3).map(v => v/255).map(v => v <= .04 ? v/12.92 : ((v + .055)/1.055)**2.4)
        .reduce((sum, v, i) => sum + [.2126, .7152, .0722][i]*v, .05);
    const behind = new Map([[null, canvas]]);
    const under = e => { if (!behind.has(e)) { const c = getComputedStyle(e).backgroundColor, [,,, a] = numbers(c);
        behind.set(e, a === undefined || a > .9 ? c : under(e.parentElement)); } return behind.get(e); };
    const found = new Set(), seen = new Map(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT,
        n => n.nodeType === 1 && n.matches('script, style, noscript, svg, math, [aria-hidden=true], :disabled, .covid-play')
            ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT);
    const word = e => e.parentElement.className + ' ' + e.className;
    while (walk.nextNode()) {
        if (walk.currentNode.nodeType === 1 || !walk.currentNode.textContent.trim()) continue;
        const e = walk.currentNode.parentElement, code = e.matches('pre span') && !e.hasAttribute('style') && e.closest('pre');
        if (code) {      // one word of each color of a piece of code
            if (!seen.has(code)) seen.set(code, new Set());
            if (seen.get(code).has(word(e))) continue;
        }
        if (!e.checkVisibility()) continue;
        if (code) seen.get(code).add(word(e));
        const s = getComputedStyle(e), size = parseFloat(s.fontSize), large = size >= 24 || size > 18.6 && s.fontWeight >= 700;
        const [low, high] = [light(s.color), light(under(e))].sort((a, b) => a - b);
        if (high/low < (large ? 3 : 4.5) - .02) found.add(e.tagName + '.' + e.className + ' ' + s.color + ' on ' + under(e));
    }
    return [...found].slice(0, 3); }"""
# The background is dark, and then the page is marked so: smalldocs on <html>, Quarto on <body>
DARK = """() => Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)) < 100
    && document.querySelector('html.quarto-dark, body.quarto-dark')"""
FIRST = """() => [...document.querySelectorAll('main :is(img, canvas, svg)')].some(e => {
    const r = e.getBoundingClientRect(); return r.height >= 60 && r.top < 840 && e.getClientRects().length; })"""
LESSONS = {r.module for r in house.rooms() if not r.workshop}


@pytest.fixture(scope="module")
def looked(browser, served):
    """Each page, loaded once, in a light and a dark room, on a wide screen and on a phone: the faults that are seen, and how its figures
    were moved by mouse, keyboard and touch."""
    page = browser.new_context(has_touch=True, reduced_motion="reduce").new_page()      # no color on its way to another
    said, fetched = [], []
    page.on("console", lambda m: said.append(f"{m.type}: {m.text}"))
    page.on("pageerror", lambda e: said.append(f"error: {e}"))
    page.on("request", lambda r: fetched.append(r.url))
    found, moved = {}, {}
    for name in NAMES:
        page.goto("about:blank")      # or else the page before would be laid out once more
        said.clear(), fetched.clear()
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": WIDTHS[0], "height": 900})
        assert page.goto(f"{served}/{name}.html", wait_until="load").status == 200
        faults = [] if name not in LESSONS or page.evaluate(FIRST) else ["nothing to look at on the first screen"]
        page.evaluate("document.querySelectorAll('main details').forEach(e => e.open = true)")
        faults += too_wide(page, WIDTHS[0]) + [f"pale: {p}" for p in page.evaluate(PALE)]
        if name in WHOLLY:
            page.evaluate(PLAIN_CODE)
            faults += serious(page, rules={"color-contrast": {"enabled": name == "index"}})      # PALE's work: axe takes seconds for it
            page.evaluate(COLORED_CODE)
        for figure in page.locator("figure[data-covid-play][data-state]").all():
            moved[name, figure.get_attribute("data-covid-play")] = {"mouse": played(page, figure, 3, enough=1), "keys": keyed(page, figure)}
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(DARK)
        faults += [f"pale in the dark: {p}" for p in page.evaluate(PALE)]
        faults += too_wide(page, WIDTHS[1])
        page.evaluate(PLAIN_CODE)
        faults += serious(page, runOnly=CONTENT)
        for figure in page.locator("figure[data-covid-play][data-state]").all():
            moved[name, figure.get_attribute("data-covid-play")]["touch"] = touched(page, figure)
            unnamed = figure.evaluate("""f => [...f.querySelectorAll('input, select')].filter(e => !e.labels.length
                && !e.getAttribute('aria-label') && !e.getAttribute('aria-labelledby')).length""")
            if unnamed: faults.append(f"controls without a name: {figure.get_attribute('data-covid-play')}")
        faults += said + [f"fetched {u}" for u in fetched if not u.startswith(("http://127.0.0.1:", "data:", "blob:"))]
        if faults: found[name] = faults
    page.context.close()
    return found, moved


def test_pages_in_the_browser(looked):
    """Light and dark, wide and on a phone: nothing in the console, nothing fetched elsewhere, no sideways scrolling, no pale text, no serious
    fault for axe, something to look at on a lesson's first screen."""
    assert looked[0] == {}


def test_figures_play(looked, site):
    "Every figure marked data-covid-play: what it draws changes by mouse, by keyboard and by touch."
    assert set(looked[1]) == {f for f in figures(site)}
    still = {f: ways for f, ways in looked[1].items() if not all(ways.values())}
    assert still == {}


def weight(site: Path, name: str) -> int:
    "Bytes that a page and all it needs have, every picture seen, on a light page."
    text = (site/f"{name}.html").read_text()
    links = {l for l in re.findall(r'(?:src|href)="([^":#]+\.(?:css|js|webp|png|svg))"', text) if "-dark.webp" not in l}
    icons = max((p.stat().st_size for p in site.glob("site_libs/**/bootstrap-icons.woff*")), default=0)
    return len(text.encode()) + icons + sum((site/l).stat().st_size for l in links if (site/l).is_file())


def test_no_page_is_heavy(site):
    "Pages under 1.5 MB with all they need, one Bootstrap among it; the one that brings a network of 1 MB along under 2."
    weights = {name: weight(site, name) for name in NAMES}
    assert {n: w for n, w in weights.items() if w > (2_000_000 if n == "network" else 1_500_000)} == {} and min(weights.values()) > 300_000
    assert len([p for p in site.glob("site_libs/**/*.css") if p.stat().st_size > 150_000]) == 1


@pytest.mark.parametrize("name, width", [("glossary", 390)])
def test_dark_has_contrast(name, width, visit):
    from axe_playwright_python.sync_playwright import Axe
    page = visit(name, width, scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    page.wait_for_timeout(150)     # smalldocs looks at the background before it marks the page as dark
    page.wait_for_function(f"Math.max(...{background}) < 100")
    found = Axe().run(page, options={"runOnly": ["color-contrast"]}).response["violations"]
    assert [n["html"][:150] for v in found for n in v["nodes"]] == []
    if width < 500:
        page.click(".navbar-toggler")
        page.wait_for_selector(".navbar-collapse.collapse.show")     # a click while the menu still opens is lost on a slow machine
    page.click(".quarto-color-scheme-toggle")
    page.wait_for_function(f"Math.min(...{background}) > 200")


def results(page, words: str) -> list[tuple[str, str]]:
    "Page and heading of what search finds, in its order; names of the library have no heading, but a place."
    page.fill("input[type=search]", "")
    page.wait_for_function("!document.querySelector('.smalldocs-search-results.show')")
    page.evaluate("document.querySelector('.smalldocs-search-results').innerHTML = ''")
    page.fill("input[type=search]", words)
    page.wait_for_selector(".search-result")
    return page.evaluate("""[...document.querySelectorAll('.search-result')].map(e => [e.getAttribute('href').replace(/^[.]\\//, '').replace('.html', '').split('#')[0],
        (e.querySelector('.search-result-section') || {}).textContent || (e.href.includes('#') ? '' : 'beginning')])""")


def test_search_finds_ideas_first_and_leads(visit):
    "A lesson or the glossary first, its heading among the first two, before the library's names; with or without accents."
    page = visit("index")
    for words, heading in (("dice", "Dice, F1"), ("mirror", "mirror image"), ("consolidacion", "Consolidation"), ("consolidación", "Consolidation"),
                           ("ground glass", "Ground glass"), ("vidrio deslustrado", "vidrio deslustrado"), ("k-anonymity", "k-anonymity")):
        found = results(page, words)
        assert any(heading in h for _, h in found[:2]), (words, found[:3])
        assert found[0][1] and found[0][0] in LESSONS | {"glossary"}, (words, found[:3])
    assert ["masks", ""] in results(page, "mask_to_onehot"), "the library's names are found, too"
    page.fill("input[type=search]", "Hounsfield unit")
    page.wait_for_function("document.querySelector('.search-result')?.textContent.includes('Hounsfield')")
    page.click(".search-result[href*='hu.html'] >> nth=0")
    page.wait_for_load_state()
    assert page.url.split("#")[0].endswith("/hu.html") and "Hounsfield" in page.inner_text("h1")
    formula = page.locator("math[display=block]").first.bounding_box()
    assert formula["height"] > 30 and formula["width"] > 100, "the browser set a fraction: taller than a line of text"


def test_on_a_phone(visit):
    "A callout opens by keyboard; the outline unfolds; the index shows cards; search finds Spanish words."
    page = visit("index", 390)
    head = page.locator(".callout-header").first
    head.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".callout-collapse.show")
    assert head.get_attribute("aria-expanded") == "true"
    page.locator(".covid-outline > summary").click()
    assert page.locator(".covid-outline a", has_text="The lessons").is_visible()
    assert page.locator(".covid-cards tbody tr >> nth=1").locator("td >> nth=1").bounding_box()["width"] > 300
    page.click(".navbar-toggler")
    page.fill("input[type=search]", "vidrio deslustrado")
    page.wait_for_selector(".search-result")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_index_begins_with_a_figure_to_draw_on(visit):
    "Above the commands, and on the first screen; README shows its still picture."
    page = visit("index")
    assert page.locator("figure[data-covid-play=second_reader] canvas").first.bounding_box()["y"] < 800
    readme = (ROOT/"README.md").read_text()
    assert readme.index("to draw lesions on") < readme.index("make demo")


def test_a_hundred_characters_fit(visit):
    "At 1300 px a line of code of 100 characters stands on one line; on a phone nothing is cut off."
    page = visit("core")
    fits = """() => { const pre = document.querySelector('main pre.sourceCode code'); pre.textContent = 'x'.repeat(100); const one = pre.getClientRects()[0].height;
        const high = document.createRange(); high.selectNodeContents(pre); return high.getClientRects().length; }"""
    assert page.evaluate(fits) == 1
    page.set_viewport_size({"width": 390, "height": 900})
    assert page.evaluate("[...document.querySelectorAll('main pre')].every(e => e.scrollWidth <= e.clientWidth + 1)")


def test_workshops_are_folded(visit):
    page = visit("index")
    workshop = page.locator("#quarto-sidebar a[href$='core.html']")
    assert page.locator("#quarto-sidebar a[href$='hu.html']").is_visible() and not workshop.is_visible()
    page.locator("#quarto-sidebar .sidebar-item-text", has_text="Workshops").first.click()
    workshop.wait_for(state="visible")


# What a figure draws: on a canvas, in SVG, or by the sizes and colors of elements. All of it stays in the page.
DRAWN = """e => [...e.querySelectorAll('canvas, svg, .covid-play-body [style]')].map(c => {
    if (c.tagName !== 'CANVAS') return c.tagName === 'svg' ? c.outerHTML : c.getAttribute('style');
    if (!c.width || !c.height) return '';
    const copy = new OffscreenCanvas(c.width, c.height).getContext('2d', {willReadFrequently: true});
    copy.drawImage(c, 0, 0);
    return new Uint32Array(copy.getImageData(0, 0, c.width, c.height).data.buffer); })"""
BEFORE = f"e => {{ e.drawnBefore = ({DRAWN})(e); }}"
CHANGED = f"""async e => {{      // now, or at the latest after 120 ms
    const drawn = {DRAWN}, before = e.drawnBefore;
    const same = (a, b) => typeof a === 'string' ? a === b : a.length === b.length && a.every((v, i) => v === b[i]);
    const changed = () => {{ const now = drawn(e); return now.length !== before.length || !now.every((part, i) => same(part, before[i])); }};
    for (let i = 0; i < 6; i++) {{ if (changed()) return true; await new Promise(done => setTimeout(done, 20)); }}
    return changed(); }}"""


def played(page, figure, most=4, enough=99) -> list[str]:
    "Which controls of a figure changed what it draws: dragging on its picture, then the first controls of each kind, `most` at most, until `enough` did."
    moved = []
    def changed(what, act):
        if len(moved) >= enough: return
        figure.evaluate(BEFORE)
        act()
        if figure.evaluate(CHANGED): moved.append(what)
    figure.scroll_into_view_if_needed()
    def drag():
        canvas = figure.locator("canvas, svg").first
        canvas.evaluate("e => e.scrollIntoView({block: 'center', behavior: 'instant'})")    # not below the header
        box = canvas.bounding_box()
        page.mouse.move(box["x"] + box["width"]*.35, box["y"] + box["height"]*.4)
        page.mouse.down()
        for k in range(1, 4): page.mouse.move(box["x"] + box["width"]*(.35 + .07*k), box["y"] + box["height"]*(.4 + .05*k))
        page.mouse.up()
    if figure.locator("canvas, svg").count(): changed("drag", drag)     # first: an eraser chosen by the controls below would find nothing
    for i, control in enumerate(figure.locator("input[type=range]").all()[:min(most, 3)]):
        changed(f"range {i}", lambda: (control.focus(), page.keyboard.press("PageUp"), page.keyboard.press("PageUp")))
    for i, control in enumerate(figure.locator("button").all()[:most]):
        if control.is_enabled(): changed(f"button {i}", control.click)     # there may be nothing to undo yet
    for i, control in enumerate(figure.locator("select").all()[:min(most, 2)]):
        changed(f"select {i}", lambda: (control.focus(), page.keyboard.press("ArrowDown")))
    for i, control in enumerate(figure.locator("input[type=checkbox], input[type=radio]").all()[:most]):
        changed(f"box {i}", control.click)
    return moved


def keyed(page, figure) -> list[str]:
    "The first control that changes what a figure draws, by keyboard alone."
    for selector, keys in (("input[type=range]", ("PageUp", "PageDown", "ArrowRight")), ("canvas[tabindex], svg[tabindex], [tabindex]", ("ArrowRight", "ArrowDown", "Space", "ArrowRight")),
                           ("button:enabled", ("Enter",)), ("select", ("ArrowDown",)), ("input[type=radio]", ("ArrowDown",)), ("input[type=checkbox]", ("Space",))):
        for control in figure.locator(selector).all()[:3]:
            figure.evaluate(BEFORE)
            control.focus()
            for key in keys: page.keyboard.press(key)
            if figure.evaluate(CHANGED): return [selector]
    return []


def touched(page, figure) -> list[str]:
    "The first thing that changes what a figure draws when a finger taps it."
    for selector, places in (("canvas, svg", ((.3, .4), (.7, .6))), ("button:enabled", ((.5, .5),)), ("input[type=range]", ((.8, .5), (.2, .5))),
                             ("label:has(input[type=radio]), label:has(input[type=checkbox])", ((.1, .5),))):
        for control in figure.locator(selector).all()[:2 if "canvas" in selector else 3]:
            for x, y in places:
                figure.evaluate(BEFORE)
                control.evaluate("e => e.scrollIntoView({block: 'center', behavior: 'instant'})")
                box = control.bounding_box()
                if not box: continue
                page.touchscreen.tap(box["x"] + box["width"]*x, box["y"] + box["height"]*y)
                if figure.evaluate(CHANGED): return [selector]
    return []


def figures(site) -> list[tuple[str, str]]:
    return [(p.stem, name) for p in sorted(site.glob("*.html")) for name in re.findall(r'<figure[^>]*data-covid-play="([^"]+)"', p.read_text())]


def test_figures_have_a_still_picture(site):
    "For readers without scripts."
    for name, which in figures(site):
        figure = re.search(rf'<figure[^>]*data-covid-play="{which}".*?</figure>', (site/f"{name}.html").read_text(), re.S)[0]
        assert "<noscript>" in figure and re.search(r'<img [^>]*src="figures/', figure.partition("<script")[0]), which


# ---- the checks can fail

def test_a_broken_link_is_caught(site, tmp_path):
    copy = Path(shutil.copytree(site, tmp_path/"site"))
    page = copy/"deck.html"
    page.write_text(page.read_text().replace("hu.html#the-scale", "hu.html#the-scales", 1).replace("eda.html", "edda.html", 1))
    assert sorted(line.split(": ")[-1] for line in set(broken(copy)) - set(broken(site))) == ["no such page", "no such place"]


def test_a_broken_formula_is_caught(tmp_path):
    "A typo stops the build; a formula that came through as TeX is seen on the page."
    assert "<mfrac>" in docs.math_to_html(r"so $\frac{a}{b}$ costs 5 $ or 6 $") and "$x$" in docs.math_to_html("`$x$`")
    for typo in (r"$\mathrn{IoU}$", r"$$\fraction{a}{b}$$", r"$\frac{a}$"):
        with pytest.raises(ValueError, match="formula"): docs.math_to_html(typo)
    for i, raw in enumerate((r"$$a$$", r"\(a\)", r"<math><mi>\frak</mi></math>", r"it is $a_b$", "it costs 5 $ or 6 $")):
        page = tmp_path/f"{i}.html"
        page.write_text(raw)
        assert bool(raw_formulas(page)) == (i < 4), raw


def test_axe_and_the_console_can_complain(browser):
    from axe_playwright_python.sync_playwright import Axe
    page = browser.new_page()
    page.set_content("<html lang=en><title>x</title><main><h1>x</h1><img src='data:,'><p style='color: #ccc'>pale</p></main>")
    assert {"image-alt", "color-contrast"} <= {v["id"] for v in Axe().run(page).response["violations"]}
    page.close()


def test_a_frozen_figure_is_caught(browser):
    page = browser.new_page()
    html = "<figure data-covid-play='{0}'><canvas></canvas><label>x<input type=range oninput=\"{1}\"></label></figure>"
    page.set_content(html.format("frozen", "") +
                     html.format("moves", "this.closest('figure').querySelector('canvas').getContext('2d').fillRect(0, 0, 9, 9)"))
    assert played(page, page.locator("[data-covid-play=frozen]")) == []
    assert played(page, page.locator("[data-covid-play=moves]")) == ["range 0"]
    page.close()
