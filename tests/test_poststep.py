"""What the site's last step does to a page of Quarto's, which is not on PyPI: each row of the review's list "Real Quarto only".

tests/support/quarto_site is a page with Quarto 1.7's markup and the rules of its themes that matter, as the review found them.
"""
import io, json, re, shutil

import numpy as np
import pytest
import yaml
from PIL import Image

import lessons, poststep
from conftest import ROOT
from test_site import Anatomy, folder_served


@pytest.fixture(scope="module")
def mended(tmp_path_factory):
    "The page after the step, and how it was before."
    out = tmp_path_factory.mktemp("quarto")/"site"
    shutil.copytree(ROOT/"tests"/"support"/"quarto_site", out)
    shutil.copy(ROOT/"nbs"/"styles.css", out)
    (out/"model_files"/"figure-html").mkdir(parents=True)
    Image.fromarray(plot()).save(out/"model_files"/"figure-html"/"cell-4-output-1.png")
    for name in ("first_model", "unet"): (out/f"{name}.html").write_text((out/"model.html").read_text())
    poststep.finish(out, {"model.html": "12 The model"})
    return out


def plot() -> np.ndarray:
    "On white: a gray area that stands for a slice, a black line, an orange line."
    rgb = np.full((60, 80, 3), 255, np.uint8)
    rgb[10:50, 5:35] = np.arange(40, 70)[None, :, None]
    rgb[10:50, 60], rgb[5, 40:78] = 0, (213, 94, 0)
    return rgb


@pytest.fixture(scope="module")
def text(mended): return (mended/"model.html").read_text()


@pytest.fixture(scope="module")
def opened(browser, mended):
    "opened(width, scheme): the page in the browser; what it says and fetches is in .said and .fetched."
    contexts = {}
    with folder_served(mended) as address:
        def go(width=1300, scheme="light"):
            if scheme not in contexts:
                page = browser.new_context(color_scheme=scheme).new_page()
                page.said, page.fetched = [], []
                page.on("console", lambda m: page.said.append(m.text))
                page.on("pageerror", lambda e: page.said.append(str(e)))
                page.on("request", lambda r: page.fetched.append(r.url))
                page.goto(f"{address}/model.html", wait_until="load")
                page.wait_for_timeout(350)
                contexts[scheme] = page
            contexts[scheme].set_viewport_size({"width": width, "height": 900})
            return contexts[scheme]
        yield go
        for page in contexts.values(): page.context.close()


def style(page, selector: str, name: str) -> str: return page.locator(selector).first.evaluate("(e, n) => getComputedStyle(e)[n]", name)


def contrast(page, selector: str) -> float:
    "Of an element's text and what lies behind it."
    def light(color):
        c = [int(v)/255 for v in re.findall(r"\d+", color)[:3]]
        return sum(w*(v/12.92 if v <= .04 else ((v + .055)/1.055)**2.4) for w, v in zip((.2126, .7152, .0722), c))
    behind = """e => { while (e && /, 0\\)$|transparent/.test(getComputedStyle(e).backgroundColor)) e = e.parentElement;
        return getComputedStyle(e || document.body).backgroundColor; }"""
    a, b = sorted(light(c) + .05 for c in (style(page, selector, "color"), page.locator(selector).first.evaluate(behind)))
    return b/a


# ---- the sixteen rows

@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_row_1_inline_code_can_be_read(opened, scheme):
    page = opened(scheme=scheme)
    for place in ("main p code", "main td code", "main p a code"): assert contrast(page, place) > 4.5, place


def test_row_2_sidebar_holds_the_pages_that_are_no_notebooks():
    assert re.search(r"^custom_sidebar = True", (ROOT/"settings.ini").read_text(), re.M)      # nbdev's own looks for notebooks alone
    contents = str(yaml.safe_load((ROOT/"nbs"/"sidebar.yml").read_text()))
    assert all(f"{name}.qmd" in contents for name in ("glossary", "deck", "references"))


def test_row_3_nothing_is_fetched_from_elsewhere(opened, mended, text):
    for scheme in ("light", "dark"):
        page = opened(scheme=scheme)
        assert [u for u in page.fetched if not u.startswith(("http://127.0.0.1:", "data:"))] == [] and page.said == []
    assert "define(" not in text and "//fonts." not in "".join(p.read_text() for p in mended.rglob("*.css"))
    assert '<a href="https://colab.research.google.com/x.ipynb" class="btn btn-sm btn-outline-primary">Open in Colab</a>' in text


def test_row_4_start_here_is_marked_on_its_page_alone(mended, text):
    link = r'<a class="nav-link[^"]*" href="./first_model.html"[^>]*>'
    assert "active" not in re.search(link, text)[0] and "aria-current" not in re.search(link, text)[0]
    assert "active" in re.search(link, (mended/"first_model.html").read_text())[0]


def test_row_5_callouts_open_by_keyboard(opened):
    page = opened()
    head = page.locator(".callout-header")
    for key, now in (("Enter", "true"), ("Space", "false")):
        head.focus()
        page.keyboard.press(key)
        assert head.get_attribute("aria-expanded") == now and head.get_attribute("role") == "button"
    assert head.get_attribute("aria-label") is None, "the title is its name"


def test_row_6_a_dark_system_gets_the_dark_page(opened):
    assert yaml.safe_load((ROOT/"_quarto.yml").read_text())["format"]["html"]["respect-user-color-scheme"] is True
    assert style(opened(scheme="dark"), "body", "backgroundColor") == "rgb(18, 24, 31)"
    assert style(opened(scheme="light"), "body", "backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_row_7_nothing_scrolls_sideways_on_a_phone(opened, scheme):
    page = opened(390, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("[...document.querySelectorAll('main pre')].every(e => e.scrollWidth <= e.clientWidth)"), "code and outputs wrap"


def test_row_8_no_word_is_broken_in_tables(opened):
    page = opened(390)
    assert style(page, "table.table a", "wordBreak") == "normal"
    assert style(page, "main td", "overflowWrap") == "normal"


def test_row_9_no_figure_with_a_stray_value():
    "A cell with a caption that also returns something: Quarto puts the caption above the picture, below that value."
    stray = {p.name: c.source[:60] for p in lessons.lessons() for c in lessons.read(p).cells if c.cell_type == "code" and "#| fig-cap" in c.source
             for o in c.outputs if o.output_type == "execute_result" and not {"image/png", "text/html"} & set(o.data)}
    assert stray == {}


def test_row_10_no_markdown_in_signatures(text):
    assert "# one of `WINDOWS`</span>" in text and "](http" not in text


def test_row_11_links_lead_somewhere(text):
    assert '<a href="model.html#window"><code>window</code></a>' in text and '<a href="model.html"><code>model</code></a>' in text
    assert "<code>exporti</code>" in text and "#exporti" not in text and poststep.BASE not in text


def test_row_12_dark_sidebar_outline_and_links(opened):
    page = opened(scheme="dark")
    assert style(page, "#quarto-sidebar", "backgroundColor") == "rgba(0, 0, 0, 0)" and style(page, "#quarto-sidebar", "backgroundImage") == "none"
    assert style(page, "#toc-title", "color") == "rgb(228, 233, 238)" and style(page, "#TOC a.active", "color") == "rgb(124, 196, 245)"
    assert contrast(page, ".pagination-link") > 4.5 and contrast(page, ".sidebar-link") > 4.5


def test_row_13_copy_button_only_on_hover():
    assert yaml.safe_load((ROOT/"_quarto.yml").read_text())["format"]["html"]["code-copy"] == "hover"


def test_row_14_a_gap_under_the_description(opened):
    page = opened(390)
    gap = "document.querySelector('.covid-outline').getBoundingClientRect().top - document.querySelector('.description').getBoundingClientRect().bottom"
    assert page.evaluate(gap) >= 15


def test_row_15_search_has_no_formulas_as_tex(mended):
    found = json.loads((mended/"search.json").read_text())
    assert not any("\\" in e["text"] or "mathrm" in e["text"] for e in found)
    assert {"objectID", "href", "title", "section", "text"} <= set(found[0])
    loss = next(e for e in found if e["href"] == "model.html#dice-loss")
    assert "It is 2IoU over a sum" in loss["text"] and "consolidacion" in loss["text"]


@pytest.mark.parametrize("width, scheme", [(1300, "light"), (390, "dark")])
def test_row_16_axe_and_names(opened, width, scheme):
    from axe_playwright_python.sync_playwright import Axe
    page = opened(width, scheme)
    violations = Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"][:120]) for v in violations if v["impact"] in ("serious", "critical")] == []
    assert page.locator("#quarto-search button").get_attribute("aria-label") == "Search"
    assert page.evaluate("[...document.querySelectorAll('div[aria-expanded]')].every(e => e.getAttribute('role') === 'button')")


# ---- what the step does for both builds

def test_ideas_first_in_the_outline(opened, text):
    toc = text[text.index('<nav id="TOC"'):text.index("</nav>", text.index('<nav id="TOC"'))]
    assert re.findall(r'href="#([\w-]+)"', toc) == ["the-nested-grid", "dice-loss", "window"] and "<summary>Reference</summary>" in toc
    assert opened(1300).locator(".covid-outline").is_visible() is False
    page = opened(390)
    page.locator(".covid-outline > summary").click()
    page.locator(".covid-outline a", has_text="Dice loss").click()
    assert page.url.endswith("#dice-loss") and not page.locator(".covid-outline[open]").count()


def test_names_come_last_in_search_and_leave_the_idea_its_prose(mended):
    found = [e for e in json.loads((mended/"search.json").read_text()) if e["href"].startswith("model.html")]
    assert [e["section"] for e in found] == ["", "The nested grid", "Dice loss", ""] and found[-1]["text"].startswith("window: Gray values")
    assert "After the function the idea goes on." in found[1]["text"] and "Gray values" not in found[1]["text"]


def test_sources_and_answers_are_folded():
    cell = '<div id="cell-{0}" class="cell">\n<pre>code</pre><div class="cell-output">{1}</div>\n</div>\n'
    ask = "<main><img><p><strong>Predict before you run</strong>: which?</p>\n"
    shut = '<pre>code</pre><details class="covid-show"><summary>Show</summary>\n<div class="cell-output">7</div>\n</details>\n</div>'
    assert shut in poststep.folded(ask + '<div id="cell-1" class="cell"><pre>import</pre></div>' + cell.format(2, 7) + cell.format(3, 8))
    for other in (ask + "<h2>Next</h2>" + cell.format(2, 7), ask + cell.format(2, '<figure data-covid-play="x">'),
                  ask.replace("<img>", "") + cell.format(2, "<img>"), "<main>" + cell.format(2, 7)):
        assert poststep.folded(other) == other
    assert "open" not in poststep.folded('<details open="" class="code-fold">\n<summary>Exported source</summary></details>')
    assert "open" in poststep.folded('<details open="" class="code-fold">\n<summary>Solution 1</summary></details>')


def test_pictures_are_files_with_a_dark_twin(opened, mended, text):
    light, dark = (opened(scheme=s).locator("main figure img") for s in ("light", "dark"))
    assert [light.nth(i).is_visible() for i in (0, 1)] == [True, False] and [dark.nth(i).is_visible() for i in (0, 1)] == [False, True]
    assert 'width="40" height="30"' in text and 'alt="A gray square and a line"' in text
    picture = Image.open(mended/re.search(r'src="(figures/[^"]+-dark\.webp)"', text)[1])
    assert picture.size == (80, 60)
    exact = poststep.for_dark(plot()).astype(int)
    assert (exact[0, 0] == poststep.PAPER).all() and (exact[20, 60] == poststep.INK).all()      # paper dark, ink light
    assert (exact[10:50, 5:35] == plot()[10:50, 5:35]).all() and (exact[5, 50] == (213, 94, 0)).all()      # slices and colors stay
    assert poststep.for_dark(np.full((50, 50, 3), 90, np.uint8)) is None


def test_a_diagram_on_dark_paper():
    "Boxes joined by an arrow: their letters are light on a dark box. A bar on an axis, and letters in a dot, stay as they are."
    light = np.full((100, 200, 3), 255, np.uint8)
    light[50, 5:195] = 0                                                     # joins all
    light[20:70, 20:70] = 0; light[22:68, 22:68] = (220, 237, 250)           # a pale box with a frame
    light[40:46, 40:42] = 0; light[40:46, 42] = (110, 118, 125)              # a letter, and its soft edge
    light[10:51, 100:130] = (86, 180, 233); light[30:51, 150:170] = (230, 159, 0); light[40:45, 158:160] = 0
    dark = poststep.for_dark(light).astype(int)
    box, edge, letter = dark[30, 30], dark[42, 42], dark[42, 40]
    assert (letter == poststep.INK).all() and box.max() < 80 and (abs(edge - (box + letter)/2) < 40).all(), (box, edge, letter)
    assert (dark[15, 110] == (86, 180, 233)).all() and (dark[35, 160] == (230, 159, 0)).all() and (dark[42, 158] == 0).all()


def test_one_bootstrap_and_few_icons(opened, mended, text):
    thin = (mended/"site_libs"/"bootstrap"/"bootstrap-dark-2b-over-light.css").read_text()
    assert "background-color:#222" in thin and "box-sizing" not in thin and not (mended/"site_libs"/"bootstrap"/"bootstrap-dark-2b.min.css").exists()
    assert [u for u in opened(scheme="dark").fetched if "bootstrap-1a" in u][1:] == []
    icons = (mended/"site_libs"/"bootstrap"/"bootstrap-icons.css").read_text()
    assert "bi-github" in icons and "bi-alarm" not in icons and ".bi::before" in icons
    assert poststep.dark_over_light("@media (a){p{b:1;c:2}}q{d:1}", "@media (a){p{b:1;c:3}}q{d:1}r{e:1}") == "@media (a){p{c:3}}\nr{e:1}"


def test_glossary_terms_are_places():
    html = poststep.marked("<dl><dt><strong>Dice, F1</strong> / <em>Dice</em></dt>\n<dd><p>Twice.</p></dd></dl>")
    assert '<dt id="dice"><strong>Dice, F1' in html
    assert Anatomy(html).ids == {"dice"}


def test_cards_on_a_phone(opened):
    page = opened(390)
    row = page.locator(".covid-cards tbody tr").first
    assert page.locator(".covid-cards thead").is_hidden() and row.locator("td").nth(1).bounding_box()["width"] > 300
    assert style(opened(1300), ".covid-cards tbody tr", "display") == "table-row"


def test_scripts_and_comments_do_not_count_as_elements():
    html = '<div a><script>"</div>"</script><!-- <div> --><div></div>x</div>y'
    assert html[:poststep.end_of(html, 0)].endswith("x</div>")
    with pytest.raises(ValueError, match="without its end"): poststep.end_of("<div>", 0)
