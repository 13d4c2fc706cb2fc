"""The site in a real browser: the pip-only build, served on localhost and driven in Debian's chromium.

Links and anchors are checked in the files, everything else in the page as a reader gets it. `broken` and the two tests
at the end damage a copy of the site, so that a check that can't fail would be noticed.
"""
import functools, html, http.server, re, shutil, subprocess, sys, threading, zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import docs, lessons
from conftest import ROOT, note

WIDTHS = (1300, 360)
# the page's own sources, so that the list of tests is known before anything is built
SOURCES = [p for p in lessons.lessons()] + sorted((ROOT/"nbs").glob("*.qmd"))
NAMES = [re.sub(r"^\d\d_", "", p.stem) for p in SOURCES]


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    "The whole site, built once, by packages from PyPI alone."
    out = tmp_path_factory.mktemp("site")/"_docs"
    r = subprocess.run([sys.executable, ROOT/"tools"/"docs.py", "--pip", "--out", out], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr[-3000:]
    note(f"site: {r.stdout.strip().splitlines()[-1]}")
    assert "warning" not in r.stderr, r.stderr[-3000:]
    return out


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


@pytest.fixture(scope="session")
def served(site):
    "The site's address on localhost."
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def visit(browser, served):
    "visit(name, width): a page in a fresh context. What it logs and fetches is in .said and .fetched."
    contexts = []
    def go(name, width=1300, scheme="light", **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.said, page.fetched = [], []
        page.on("console", lambda m: page.said.append(f"{m.type}: {m.text}"))
        page.on("pageerror", lambda e: page.said.append(f"error: {e}"))
        page.on("request", lambda r: page.fetched.append(r.url))
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
        self.feed(text)

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


@functools.lru_cache(maxsize=None)
def anatomy(path: Path) -> Anatomy: return Anatomy(path.read_text())


def broken(folder: Path) -> list[str]:
    "Internal links and anchors that lead nowhere."
    found = []
    for page in sorted(folder.glob("*.html")):
        for link in anatomy(page).links:
            url = urlsplit(link)
            if url.scheme or url.netloc: continue
            target = page if not url.path else (page.parent/unquote(url.path)).resolve()
            if target.is_dir(): target /= "index.html"
            if not target.is_file(): found.append(f"{page.name}: {link}: no such page")
            elif url.fragment and target.suffix == ".html" and unquote(url.fragment) not in anatomy(target).ids:
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


def test_sidebar_in_reading_order(site):
    text = (site/"index.html").read_text()
    bar = text[text.index('id="quarto-sidebar"'):text.index("</nav>", text.index('id="quarto-sidebar"'))]
    order = [h.removeprefix("./").removesuffix(".html") for h in re.findall(r'href="([^"#]+\.html)"', bar)]
    assert order == ["index"] + [n for n in NAMES if n != "index"]


@pytest.mark.parametrize("source", [p for p in SOURCES if p.suffix == ".ipynb"], ids=lambda p: p.stem)
def test_code_that_is_taught_is_shown(source, site):
    "A cell with `#| exports` shows its code below the signatures; one with `#| export` the signatures alone."
    page = (site/f"{NAMES[SOURCES.index(source)]}.html").read_text()
    taught = [c.source for c in lessons.read(source).cells if c.source.startswith("#| exports\n")]
    assert page.count("Exported source</summary>") == len(taught)
    shown = letters(html.unescape(re.sub(r"<[^>]+>", "", page)))
    for cell in taught: assert letters(cell.split("\n", 1)[1]) in shown


@pytest.mark.parametrize("source", SOURCES, ids=NAMES)
def test_nothing_is_lost_or_raw(source, site):
    "Each heading and each formula of the source is on the page; the opening survives nbdev's front matter."
    path = site/f"{NAMES[SOURCES.index(source)]}.html"
    page, text = anatomy(path), markdown(source)
    words = letters(" ".join(page.words))
    headings = [h for cell in text.split("\n\n") for h in re.findall(r"^#{1,4} (.+?)(?: \{.*\})?$", cell, re.M)]
    assert [h for h in headings if letters(re.sub(r"`[^`]*`", "", h)) not in words] == []
    assert raw_formulas(path) == []
    assert re.findall(r"\S*\]\(\S*|\*\*\w+", " ".join(page.words)) == [], "Markdown that stayed Markdown"
    formulas = [m for m in docs.CODE_OR_MATH.finditer(text) if m["display"] or m["inline"]]
    assert len(page.maths) == len(formulas) and all(m.strip() for m in page.maths)
    if "**You will learn**" in text:
        assert "youwilllearn" in words, "the title's cell may hold the H1 and > subtitle alone: nbdev drops the rest"
    if source.suffix == ".ipynb":    # saved pictures
        outputs = [o for c in lessons.read(source).cells if c.cell_type == "code" and "#| hide" not in c.source for o in c.outputs]
        saved = sum("image/png" in o.get("data", {}) for o in outputs)
        assert sum(link.startswith("data:image/png") for link in page.links) >= saved


def test_names_in_backticks_lead_to_the_reference(site):
    "nbdev's own links, and on the page they lead to, the signature with its arguments."
    assert 'href="hu.html#standardizer"' in (site/"hu.html").read_text()
    hrefs = {h for p in site.glob("*.html") for h in anatomy(p).links if re.match(r"[a-z_]+\.html#[a-z_.]+$", h)}
    assert len(hrefs) >= 15
    text = (site/"hu.html").read_text()
    assert "mid-gray" in text[text.index('id="window"'):]     # a docment of `window`
    for p in site.glob("*.html"):
        assert docs.BASE not in "".join(anatomy(p).links)
        assert not re.search(r"\]\([\w./:]+\.html", p.read_text()), f"{p.name}: a link that was not read as one"


def test_scripts_in_outputs_stay_whole():
    "A saved text/html output with a figure to play with arrives on the page byte for byte."
    from smalldocs.markdown import render
    from smalldocs.notebook import to_markdown
    html = '<figure data-covid-play="x"><canvas></canvas>\n\n<script>\nif (1 < 2 && "$a$") { a["b"] = `*_c_*`; }\n\n// end\n</script></figure>'
    nb = lessons.nbformat.v4.new_notebook()
    nb.cells = [lessons.nbformat.v4.new_code_cell("f()", outputs=[lessons.nbformat.v4.new_output("display_data", {"text/html": html})])]
    assert html in docs.mend(render(to_markdown(lessons.nbformat.writes(nb))[1], {}))


# ---- in the browser

@pytest.mark.parametrize("name", NAMES)
def test_page_in_the_browser(name, visit):
    "Both widths: nothing in the console, nothing fetched elsewhere, no sideways scrolling, no serious fault for axe."
    from axe_playwright_python.sync_playwright import Axe
    for width in WIDTHS:
        page = visit(name, width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        wide = page.evaluate("""w => [...document.querySelectorAll('main :is(img, canvas, figure, table, pre)')].filter(e => {
            const r = e.getBoundingClientRect(); let box = e.parentElement;
            while (box && !/auto|scroll/.test(getComputedStyle(box).overflowX)) box = box.parentElement;
            return r.width && r.right > w + 1 && !box; }).map(e => e.outerHTML.slice(0, 80))""", width)
        assert wide == [], f"wider than {width} px"
        assert page.said == []
        assert [u for u in page.fetched if not u.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []
        # what axe finds depends on the width in few rules; the whole run takes a second or two a page
        narrow = width == WIDTHS[1] and name not in ("index", "glossary")
        options = {"resultTypes": ["violations"], **({"runOnly": ["scrollable-region-focusable", "meta-viewport"]} if narrow else {})}
        found = Axe().run(page, options=options).response["violations"]
        bad = [f"{v['id']}: {v['nodes'][0]['html'][:150]}" for v in found if v["impact"] in ("serious", "critical")]
        assert bad == []


@pytest.mark.parametrize("name, width", [("index", 360), ("hu", 1300), ("glossary", 360)])
def test_dark_has_contrast(name, width, visit):
    from axe_playwright_python.sync_playwright import Axe
    page = visit(name, width, scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    page.wait_for_timeout(150)     # smalldocs looks at the background before it marks the page as dark
    page.wait_for_function(f"Math.max(...{background}) < 100")
    found = Axe().run(page, options={"runOnly": ["color-contrast"]}).response["violations"]
    assert [n["html"][:150] for v in found for n in v["nodes"]] == []
    if width < 500: page.click(".navbar-toggler")
    page.click(".quarto-color-scheme-toggle")
    page.wait_for_function(f"Math.min(...{background}) > 200")


def test_search_finds_and_leads(visit):
    page = visit("index")
    page.fill("input[type=search]", "Hounsfield")
    page.wait_for_selector(".search-result")
    page.click(".search-result >> nth=0")
    page.wait_for_load_state()
    assert page.url.split("#")[0].endswith("/hu.html") and "Hounsfield" in page.inner_text("h1")


def test_search_on_a_phone(visit):
    page = visit("index", 360)
    page.click(".navbar-toggler")
    page.fill("input[type=search]", "vidrio deslustrado")
    page.wait_for_selector(".search-result")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_formulas_are_drawn(visit):
    "A fraction is taller than a line of text, and has a bar: the browser set it."
    page = visit("hu")
    box = page.locator("math[display=block]").first.bounding_box()
    assert box["height"] > 30 and box["width"] > 100


def test_callout_opens_by_keyboard(visit):
    page = visit("index")
    head = page.locator(".callout-header").first
    head.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".callout-collapse.show")
    assert head.get_attribute("aria-expanded") == "true"


PIXELS = "e => [...e.querySelectorAll('canvas')].map(c => c.toDataURL()).join('')"


def played(page, figure) -> list[str]:
    "Which controls of a figure changed its pixels: dragging on the canvas, then the first controls of each kind."
    moved = []
    def changed(what, act):
        before = figure.evaluate(PIXELS)
        act()
        page.wait_for_timeout(120)
        if figure.evaluate(PIXELS) != before: moved.append(what)
    figure.scroll_into_view_if_needed()
    def drag():
        canvas = figure.locator("canvas").first
        canvas.evaluate("e => e.scrollIntoView({block: 'center', behavior: 'instant'})")    # not below the header
        box = canvas.bounding_box()
        page.mouse.move(box["x"] + box["width"]*.35, box["y"] + box["height"]*.4)
        page.mouse.down()
        for k in range(6): page.mouse.move(box["x"] + box["width"]*(.35 + .04*k), box["y"] + box["height"]*(.4 + .03*k))
        page.mouse.up()
    changed("drag", drag)     # first: an eraser chosen by the controls below would find nothing
    for i, control in enumerate(figure.locator("input[type=range]").all()[:3]):
        changed(f"range {i}", lambda: (control.focus(), page.keyboard.press("PageUp"), page.keyboard.press("PageUp")))
    for i, control in enumerate(figure.locator("button").all()[:4]):
        if control.is_enabled(): changed(f"button {i}", control.click)     # there may be nothing to undo yet
    for i, control in enumerate(figure.locator("select").all()[:2]):
        changed(f"select {i}", lambda: (control.focus(), page.keyboard.press("ArrowDown")))
    for i, control in enumerate(figure.locator("input[type=checkbox], input[type=radio]").all()[:4]):
        changed(f"box {i}", control.click)
    return moved


def figures(site) -> list[tuple[str, str]]:
    return [(p.stem, name) for p in sorted(site.glob("*.html")) for name in re.findall(r'<figure[^>]*data-covid-play="([^"]+)"', p.read_text())]


def test_figures_play(visit, site):
    "Every figure marked data-covid-play: played with, its pixels change, by mouse and on a phone; its controls have names."
    for name, which in figures(site):
        for width in WIDTHS:
            page = visit(name, width)
            figure = page.locator(f'figure[data-covid-play="{which}"]')
            assert played(page, figure), f"{which} on {name}.html, {width} px: nothing moves"
            assert page.said == []
            unnamed = figure.evaluate("""f => [...f.querySelectorAll('input, select')].filter(e => !e.labels.length
                && !e.getAttribute('aria-label') && !e.getAttribute('aria-labelledby')).length""")
            assert unnamed == 0, which


def test_figures_have_a_still_picture(visit, site):
    for name, which in figures(site):
        page = visit(name, java_script_enabled=False)
        assert page.locator(f'figure[data-covid-play="{which}"] noscript').count(), which


# ---- the checks can fail

def test_a_broken_link_is_caught(site, tmp_path):
    copy = Path(shutil.copytree(site, tmp_path/"site"))
    page = copy/"deck.html"
    page.write_text(page.read_text().replace("hu.html#the-scale", "hu.html#the-scales", 1).replace("eda.html", "edda.html", 1))
    assert sorted(line.split(": ")[-1] for line in broken(copy)) == ["no such page", "no such place"]


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


def test_times_in_the_index_are_the_lessons():
    "Within a third: the lessons that have exercises."
    rows = dict(re.findall(r"^\| \d+ \| \[[^\]]+\]\((\w+\.ipynb)\).*\| (\d+) \|$", markdown(ROOT/"nbs"/"index.ipynb"), re.M))
    for path in lessons.lessons()[:-1]:
        nb = lessons.read(path)
        if any("## Exercises" in c.source for c in nb.cells):
            assert abs(int(rows[path.name]) - docs.minutes(nb)) <= 5 + docs.minutes(nb)/3, path.name


def test_a_frozen_figure_is_caught(browser):
    page = browser.new_page()
    html = "<figure data-covid-play='{0}'><canvas></canvas><label>x<input type=range oninput=\"{1}\"></label></figure>"
    page.set_content(html.format("frozen", "") +
                     html.format("moves", "this.closest('figure').querySelector('canvas').getContext('2d').fillRect(0, 0, 9, 9)"))
    assert played(page, page.locator("[data-covid-play=frozen]")) == []
    assert played(page, page.locator("[data-covid-play=moves]")) == ["range 0"]
    page.close()
