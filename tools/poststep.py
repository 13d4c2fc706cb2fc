"""The last step of both builds: what Quarto's and smalldocs' pages lack for readers, and get wrong.

`finish(folder, labels)` mends a built site in place. Pages are changed by small replacements in their text, never parsed and
written anew: what a notebook put there (scripts, formulas, SVG) stays byte for byte. tests/support/quarto_page.html is what
the tests try this on for Quarto, which isn't on PyPI.
"""
import base64, functools, hashlib, io, json, re, unicodedata
from concurrent.futures import ThreadPoolExecutor
from html import escape, unescape
from pathlib import Path

import numpy as np
from PIL import Image

BASE = "https://covid-nbdev.github.io/covid_nbdev/"


def end_of(html: str, start: int) -> int:
    "Where the element ends that begins at `start`. Scripts and comments aren't looked into."
    tag, depth = re.match(r"<(\w+)", html[start:start + 20])[1], 0
    for m in re.compile(rf"<script\b.*?</script>|<!--.*?-->|<(/?){tag}\b[^>]*>", re.S).finditer(html, start):
        if m[1] is None: continue
        depth += -1 if m[1] else 1
        if not depth: return m.end()
    raise ValueError(f"found a <{tag}> without its end: {html[start:start + 80]}")


# ---- nothing from other hosts

def nothing_from_elsewhere(html: str) -> str:
    "Scripts and stylesheets of other hosts go, with the line that wants require.js; badges become buttons with their words."
    html = re.sub(r'<script\b[^>]*\bsrc="(?:https?:)?//[^"]*"[^>]*>\s*</script>\s*', "", html)
    html = re.sub(r"<script\b[^>]*>\s*define\('jquery'.*?</script>\s*", "", html, flags=re.S)
    html = re.sub(r'<link\b(?=[^>]*\brel="?(?:stylesheet|preconnect|preload|dns-prefetch))[^>]*\bhref="(?:https?:)?//[^"]*"[^>]*>\s*', "", html)
    badge = r'<a\b[^>]*\bhref="([^"]*)"[^>]*>\s*<img\b(?=[^>]*\bsrc="https?://)(?=[^>]*\balt="([^"]*)")[^>]*>\s*</a>'
    return re.sub(badge, r'<a href="\1" class="btn btn-sm btn-outline-primary">\2</a>', html)


def own_links(html: str, page: str, ids: dict[str, set[str]]) -> str:
    "nbdev's links to the published site lead to this one; a link to a place that no page has becomes its text. `ids`, by page."
    html = html.replace(f'href="{BASE}', 'href="')
    def one(m):
        target, _, place = m[1].partition("#")
        target = target.removeprefix("./") or page
        return m[0] if not place or target not in ids or unescape(place) in ids[target] else m[2]
    html = re.sub(r'<a href="((?:\./)?[\w.]*#[^"]+)"[^>]*>(<code\b[^>]*>[^<]*</code>)</a>', one, html)
    # in a signature's comment nbdev writes a link as Markdown, which is read as code
    return re.sub(r"<pre\b.*?</pre>", lambda m: re.sub(r"\[(`[^`\]]+`)\]\(https?://[^)\s]+\)", r"\1", m[0]), html, flags=re.S)


# ---- for the keyboard, and for people who hear the page

SCRIPT = """<script>
document.addEventListener("keydown", (e) => {
  if ((e.key === "Enter" || e.key === " ") && e.target.matches("[role=button]:not(button)")) { e.preventDefault(); e.target.click(); }
});
(() => {
  const reach = () => {      // all is measured before anything is changed: the page is laid out once, not once for each
    const found = [...document.querySelectorAll("main :is(pre, .cell-output-display, .table-responsive, .sd-table, table, math)")];
    found.map((e) => e.scrollWidth > e.clientWidth + 1).forEach((wide, i) => {
      if (wide) found[i].tabIndex = 0; else found[i].removeAttribute("tabindex");
    });
  };
  // Quarto makes its search button when the page has loaded, without a name
  const named = () => document.querySelectorAll("#quarto-search button:not([aria-label])").forEach((b) => b.setAttribute("aria-label", b.title || "Search"));
  const both = () => { reach(); named(); };
  both(); addEventListener("load", () => { both(); setTimeout(both, 300); }); addEventListener("resize", reach);
  document.addEventListener("toggle", reach, true);
  document.querySelectorAll(".covid-outline a").forEach((a) => a.addEventListener("click", () => { a.closest("details").open = false; }));
})();
</script>"""


def without(attributes: str, *names: str) -> str:
    for name in names: attributes = re.sub(rf'\s{name}="[^"]*"', "", attributes)
    return attributes


def reachable(html: str, page: str, labels: dict[str, str]) -> str:
    "Roles, names and focus. `labels`, of pages, are the sidebar's: smalldocs shows titles in previous and next, Quarto the labels."
    html = re.sub(r'(<a [^>]*href="(?:\./)?([\w.]+)"[^>]*class="pagination-link".*?nav-page-text">)[^<]*|'
                  r'(<a [^>]*class="pagination-link"[^>]*href="(?:\./)?([\w.]+)".*?nav-page-text">)[^<]*',
                  lambda m: (m[1] or m[3]) + escape(labels.get(m[2] or m[4], m[0].rpartition(">")[2]), quote=False), html)
    # a callout's title is a button, and a button holds no link
    html = re.sub(r'(<div class="callout-title-container[^"]*">)(.*?)(</div>)',
                  lambda m: m[1] + re.sub(r"</?a\b[^>]*>", "", m[2]) + m[3], html, flags=re.S)
    html = re.sub(r'<div\b(?=[^>]*\bdata-bs-toggle="collapse")(?=[^>]*\baria-expanded)((?:(?!\brole=)[^>])*)>',
                  lambda m: f'<div role="button" tabindex="0"{without(m[1], "aria-label", "tabindex")}>', html)
    html = re.sub(r'(<a\b[^>]*data-bs-toggle="collapse"[^>]*) role="navigation"|(<a\b[^>]*) role="navigation"([^>]*data-bs-toggle="collapse")',
                  lambda m: (m[1] or m[2]) + ' role="button"' + (m[3] or ""), html)
    html = re.sub(r'<i\b([^>]*) role="img"([^>]*)>', lambda m: f'<i{m[1]}{without(m[2], "aria-label")} aria-hidden="true">', html)
    html = re.sub(r'(<button\b(?![^>]*aria-label)[^>]*quarto-search-button[^>]*)>', r'\1 aria-label="Search">', html)
    # the top bar marks its first link on every page
    def once(m):
        if m[2].removeprefix("./") == page: return m[0]
        return re.sub(r' aria-current="[^"]*"', "", m[0]).replace("nav-link active", "nav-link")
    html = re.sub(r'<a\b(?=[^>]*class="(nav-link[^"]*)")[^>]*\bhref="([^"#]+)"[^>]*>', once, html)
    for found, name in ((r'<nav class="navbar', "Site"), (r'<nav id="quarto-sidebar"', "Pages")):
        html = html.replace(found, found.replace("<nav", f'<nav aria-label="{name}"'), 1)
    html = html.replace('<div id="quarto-margin-sidebar"', '<div role="complementary" aria-label="Outline" id="quarto-margin-sidebar"')
    return html.replace("</body>", f"{SCRIPT}</body>")


# ---- ideas first, the reference after

API = re.compile(r'>source</a></p>\s*(?:<section\b[^>]*>\s*)?<h\d\b[^>]*?data-anchor-id="([^"]+)"[^>]*>(.*?)</h\d>', re.S)


def outline(html: str) -> str:
    "On this page: ideas; the library's names folded at the end. The same for the phone, below the title."
    nav = re.search(r'<nav id="TOC"', html)
    if not nav: return html
    stop = end_of(html, nav.start())
    toc, names = html[nav.start():stop], dict(API.findall(html))
    for name in names:
        toc = re.sub(rf'<li><a href="#{re.escape(name)}"[^>]*>.*?</a>\s*</li>\s*', "", toc, flags=re.S)
    toc = re.sub(r'<ul\b[^>]*>\s*</ul>\s*', "", toc)
    start, last = toc.find("<ul"), toc.rfind("</ul>")
    if start < 0:      # a page of names alone
        start = toc.find("</h2>") + 5
        toc = f"{toc[:start]}<ul></ul>{toc[start:]}"
        last = start + 4
    links = "".join(f'<li><a href="#{name}" class="covid-name">{text}</a></li>' for name, text in names.items())
    ideas = toc[start:last].count("<li")
    folded = f'<li><details class="covid-reference"{" open"*(ideas < 2)}><summary>Reference</summary><ul>{links}</ul></details></li>' if names else ""
    toc = toc[:last] + folded + toc[last:]
    html = html[:nav.start()] + toc + html[stop:]
    small = re.sub(r' (?:id|class|data-scroll-target)="(?!covid)[^"]*"', "", toc[start:toc.rfind("</ul>") + 5])
    head = re.search(r'<header id="title-block-header"', html)
    if not head: return html
    place = end_of(html, head.start())
    return f'{html[:place]}<details class="covid-outline d-lg-none"><summary>On this page</summary>{small}</details>{html[place:]}'


def imports(cell) -> str:
    "A cell that only imports waits under that word."
    lines = unescape(re.sub(r"<button.*?</button>|<[^>]+>", "", cell[2], flags=re.S)).strip().splitlines()
    if not all(re.match(r"(import|from) |\s+\w|\)|#|\s*$", line) for line in lines): return cell[0]
    return f'{cell[1]}\n<details class="code-fold"><summary>Imports</summary>{cell[2]}</details>\n'


def first_look(html: str) -> str:
    "A lesson's first figure that plays, or else its first picture, small, beside what one will learn; it leads to the figure."
    learn = html.find("<p><strong>You will learn</strong></p>")
    pattern = r'<img\b(?=[^>]*\bsrc="(figures/[^"]+)")(?=[^>]*\balt="([^"]*)")[^>]*>'
    plays = html.find("data-covid-play=", max(learn, 0))
    picture = re.compile(pattern).search(html, max(learn, plays))
    if learn < 0 or not picture: return html
    cell = re.findall(r'<div id="(cell-[^"]*)"', html[:picture.start()])
    if not cell: return html
    small = re.sub(r' (?:loading|class|width|height|alt)="[^"]*"', "", picture[0])
    dark = small.replace(".webp", "-dark.webp")[:-1] + f' class="covid-dark" loading="lazy" alt="To the figure: {picture[2]}">' if "covid-light" in picture[0] else ""
    small = small[:-1] + f'{" class=" + chr(34) + "covid-light" + chr(34) if dark else ""} alt="To the figure: {picture[2]}">'
    return f'{html[:learn]}<a class="covid-first" href="#{cell[-1]}">{small}{dark}</a>\n{html[learn:]}'


def folded(html: str) -> str:
    "Exported source is closed. What a cell shows after `Predict before you run` waits under Show; what can be played with doesn't."
    html = re.sub(r'<details\b(?=[^>]*\bclass="code-fold")[^>]*\bopen\b[^>]*>(?=\s*<summary>Exported source)', '<details class="code-fold">', html)
    html = re.sub(r'(<div id="cell-[^"]*" class="cell"[^>]*>)(\s*<div class="(?:code-copy-outer|sourceCode)(?:(?!</pre>).)*</pre>(?:(?!<div|<p).)*)(?=</div>\s*<)', imports, html, flags=re.S)
    parts, done = [], 0
    for m in re.finditer(r"<strong>Predict before you run</strong>", html):
        cell = re.compile(r'<div id="cell-[^"]*" class="cell"|<h[1-4]\b|<section\b').search(html, m.end())
        while cell and cell[0].startswith("<div"):
            stop = end_of(html, cell.start())
            if "cell-output" in html[cell.start():stop]: break
            cell = re.compile(r'<div id="cell-[^"]*" class="cell"|<h[1-4]\b|<section\b').search(html, stop)
        if not cell or not cell[0].startswith("<div") or cell.start() < done: continue
        first = html.find('<div class="cell-output', cell.start(), stop)
        inside = html[first:stop]
        if first < 0 or "data-covid-play" in inside or "cell-output-markdown" in inside: continue
        if "<img" in inside and "<img" not in html[html.find("<main"):first]: continue      # the first picture stands open
        last = stop - len("</div>")
        parts += [html[done:first], '<details class="covid-show"><summary>Show</summary>\n', html[first:last], "</details>\n"]
        done = last
    return "".join(parts) + html[done:]


def marked(html: str) -> str:
    "Places to link to in the glossary; the index's table as cards on a phone."
    seen = set()
    def term(m):
        name = re.sub(r"\W+", "-", re.sub(r"<[^>]+>", "", re.search(r"<strong>(.*?)</strong>", m[1], re.S)[1]).split(",")[0].lower()).strip("-")
        if name in seen or f'id="{name}"' in html: return m[0]
        seen.add(name)
        return f'<dt id="{name}">{m[1]}</dt>'
    html = re.sub(r"<dt>((?:(?!</dt>).)*<strong>.*?)</dt>", term, html, flags=re.S)
    return re.sub(r'<table class="([^"]*)"((?:(?!<th\b).)*<th\b[^>]*>part</th>)', r'<table class="covid-cards \1"\2', html, count=1, flags=re.S)


# ---- pictures: files of a sensible size, and one for dark pages

PAPER, INK = np.float32((18, 24, 31)), np.float32((228, 233, 238))      # styles.css: --covid-paper and --covid-ink on dark pages


def for_dark(rgb: np.ndarray) -> np.ndarray | None:
    """A plot on white as one on dark paper; None where hardly anything of it is paper. Slices and colored areas stay as they are;
    of all else, areas are read as colors of some opacity over white, and lines and letters as ink over what they lie on."""
    import cv2
    from scipy import ndimage
    least = np.minimum(np.minimum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])      # rgb.min(-1) takes ten times as long
    spots, _ = ndimage.label(least < 250)
    keep = np.zeros(least.shape, bool)
    for i, (rows, columns) in enumerate(ndimage.find_objects(spots), 1):
        high, wide = rows.stop - rows.start, columns.stop - columns.start
        if min(high, wide) < 5: continue
        spot = spots[rows, columns] == i
        fill = spot.mean()
        if high*wide >= 600 and min(high, wide) > 8 and fill > .6 and np.median(rgb[rows, columns][spot]) < 215: keep[rows, columns] = True
        elif fill > .95 and min(high, wide) > 6: keep[rows, columns] |= spot      # square, as no letter is: a legend's patch
    most = np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])
    colored = (most - least > 60).astype(np.uint8)      # bars, dots: wider than a line
    keep |= cv2.morphologyEx(colored, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    _, holes, stats, _ = cv2.connectedComponentsWithStats((~keep).astype(np.uint8), connectivity=4)
    keep |= (stats[:, cv2.CC_STAT_AREA] < 300)[holes]      # letters in them
    if keep.mean() > .92: return None
    dark = np.where(keep[..., None], rgb, np.uint8(PAPER))
    drawn = ~keep & (least < 255)                       # few: lines, letters, pale areas
    below = cv2.morphologyEx(rgb, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))[drawn].astype(np.float32)      # without lines and letters
    dark[drawn] = np.rint(laid_over(rgb[drawn], below, laid_over(below, np.float32(255), PAPER)))
    return dark


def laid_over(rgb, paper, dark):      # each (n, 3), 0 to 255
    "What was drawn on `paper`, on `dark`: as much of it shines through as did of the paper, and black becomes light ink."
    light = np.minimum(rgb/np.maximum(paper, 1), 1).min(-1, keepdims=True)
    color = ((rgb - light*paper)/np.maximum(1 - light, .01)/255).clip(0, 1)
    most = color.max(-1, keepdims=True)
    grayness = 1 - np.minimum((most - color.min(-1, keepdims=True))/.35, 1)
    return light*dark + (1 - light)*np.minimum(255*color + INK*(1 - most)*grayness, 255)


def encoded(rgb: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "WEBP", quality=90, method=2)
    return out.getvalue()


def pictures(png: bytes, dark: bool) -> tuple[bytes, bytes | None, tuple[int, int]]:
    "A PNG as WebP, the one for dark pages (or None), and (width, height)."
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    rgb = np.asarray(Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB"))
    other = for_dark(rgb) if dark else None
    return encoded(rgb), None if other is None else encoded(other), picture.size


PICTURE = re.compile(r'<img\b([^>]*?)\bsrc="(data:image/png;base64,[^"]+|(?!https?:)[^":]+\.png)"([^>]*)>')


def with_files(pages: dict[str, str], out: Path) -> dict[str, str]:
    "Pictures in pages become files beside them, made by two threads; those of figures that play stay stills."
    jobs = {}
    def name(page: str, m) -> tuple[str, bool] | None:
        if m[2].startswith("data:"): png = base64.b64decode(m[2].partition(",")[2])
        elif (out/unescape(m[2])).is_file(): png = (out/unescape(m[2])).read_bytes()
        else: return None
        opened = pages[page].rfind("<figure", 0, m.start())
        plays = opened >= 0 and "data-covid-play" in pages[page][opened:pages[page].find(">", opened)]
        key = hashlib.sha256(png).hexdigest()[:16]
        jobs[key, not plays] = png
        return key, not plays
    places = {page: [(m, name(page, m)) for m in PICTURE.finditer(html)] for page, html in pages.items()}
    (out/"figures").mkdir(exist_ok=True)
    with ThreadPoolExecutor(2) as pool: made = dict(zip(jobs, pool.map(lambda k: pictures(jobs[k], k[1]), jobs)))
    for (key, _), (light, dark, _) in made.items():
        (out/"figures"/f"{key}.webp").write_bytes(light)
        if dark: (out/"figures"/f"{key}-dark.webp").write_bytes(dark)
    def tag(m, key) -> str:
        _, dark, (width, height) = made[key]
        rest = re.sub(r'\bclass="', 'class="covid-light ', m[1] + m[3]) if dark else m[1] + m[3]
        if dark and "class=" not in rest: rest += ' class="covid-light"'
        if " width=" not in rest: rest += f' width="{width}" height="{height}"'
        light = f'<img{" " + rest.strip()} loading="lazy" src="figures/{key[0]}.webp">'
        return light + (light.replace("covid-light", "covid-dark").replace(".webp", "-dark.webp") if dark else "")
    for page, found in places.items():
        html, done = [], 0
        for m, key in found:
            if key is None: continue
            html += [pages[page][done:m.start()], tag(m, key)]
            done = m.end()
        pages[page] = "".join(html) + pages[page][done:]
    return pages


# ---- stylesheets: Bootstrap once, no typefaces from elsewhere, the icons that are used

def rules(css: str):
    "(what stands around it, selector, declarations) of each rule."
    around, before = [], ""
    for m in re.finditer(r'((?:[^{}"\']|"[^"]*"|\'[^\']*\')*)([{}])', re.sub(r"/\*.*?\*/", "", css, flags=re.S)):
        if m[2] == "{": around.append(m[1].rpartition(";")[2].strip())
        else:
            if around and m[1].strip(): yield tuple(around[:-1]), around[-1], [d.strip() for d in re.findall(r'(?:[^;"(]|"[^"]*"|\([^()]*\))+', m[1]) if d.strip()]
            if around: around.pop()


def dark_over_light(light: str, dark: str) -> str:
    "Of a dark theme what it says otherwise than the light one, to be laid over it: two whole Bootstraps are a megabyte."
    same = {(where, selector, d) for where, selector, found in rules(light) for d in found}
    out = []
    for where, selector, found in rules(dark):
        left = [d for d in found if (where, selector, d) not in same]
        if left and not any("keyframes" in w for w in where): out.append("{".join([*where, selector, ";".join(left)]) + "}"*(len(where) + 1))
    return "\n".join(out)


def one_bootstrap(pages: dict[str, str], out: Path) -> dict[str, str]:
    "The light theme always holds; the switch, of either build, lays the dark one's differences over it."
    link = re.compile(r'<link\b(?=[^>]*class="(quarto-color-scheme(?: [^"]*)?)")(?=[^>]*data-mode="(light|dark)")[^>]*\bhref="([^"]+\.css)"[^>]*>')
    found = {m[2]: m[3] for html in pages.values() for m in link.finditer(html)}
    if set(found) != {"light", "dark"}: return pages
    thin = re.sub(r"(\.min)?\.css$", "-over-light.css", found["dark"])
    (out/thin).write_text(dark_over_light(*(plain((out/found[k]).read_text()) for k in ("light", "dark"))))
    (out/found["dark"]).unlink()
    def one(m):
        if m[2] == "dark": return m[0].replace(m[3], thin)
        return f'<link rel="stylesheet" href="{m[3]}">' + m[0].replace(m[3], "data:text/css,")
    return {page: link.sub(one, html) for page, html in pages.items()}


def plain(css: str) -> str:
    "Without typefaces from elsewhere; their addresses hold semicolons."
    return re.sub(r"""@import\s*(?:url\(\s*)?(["']?)(?:https?:)?//[^"')]*\1\s*\)?[^;{}]*;""", "", css)


def stylesheets(pages: dict[str, str], out: Path):
    "Bootswatch's themes begin by fetching a typeface; styles.css uses the system's. Of 2,000 icons a dozen are used."
    used = set(re.findall(r"\bbi-[a-z0-9-]+", "".join(pages.values()) + "".join(p.read_text() for p in out.glob("site_libs/**/*.js"))))
    for p in out.glob("site_libs/**/*.css"):
        css = plain(p.read_text())
        if "bootstrap-icons" in p.name:
            css = re.sub(r"\.(bi-[a-z0-9-]+)::?before\s*\{[^}]*\}\s*", lambda m: m[0] if m[1] in used or m[1] == "bi-" else "", css)
        p.write_text(css)


# ---- search

def words(html: str) -> str:
    html = re.sub(r"<(script|style|pre|annotation|noscript|button|summary)\b.*?</\1>", " ", html, flags=re.S)
    return " ".join(unescape(re.sub(r"<[^>]+>", lambda m: "" if re.match(r"</?(em|strong|code|a|span|m\w+|sub|sup)\b", m[0]) else " ", html)).split())


def bare(text: str) -> str:
    "Without accents: who types consolidacion looks for consolidación."
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def entries(page: str, html: str) -> list[dict]:
    "What search finds on a page: its sections, or its terms; the library's names with nothing but their text, so that they come last."
    start = html.index("<main")
    main, title = html[start:end_of(html, start)], words(re.search(r'<h1[^>]*class="title"[^>]*>(.*?)</h1>', html, re.S)[1])
    main = re.sub(r'<header id="title-block-header".*?</header>|<details class="covid-outline.*?</details>(?=\s*(?:<!--|<p|<sec|<div))', "", main, flags=re.S)
    found, names = [], []
    def entry(place, section, text):
        extra = " ".join(w for w in dict.fromkeys(bare(section + " " + text).split()) if w not in text and w not in section)
        found.append({"objectID": page + f"#{place}"*bool(place), "href": page + f"#{place}"*bool(place), "title": title,
                      "section": section, "text": f"{text} {extra}".strip()})
    for m in re.finditer(r'<div class="cell-output[^"]*cell-output-markdown', main):
        block = main[m.start():end_of(main, m.start())]
        name = API.search(block)
        if name: names.append((block, unescape(name[1]), words(name[2]), words(block[name.end():])))
    for block, *_ in names: main = main.replace(block, "")
    if "<dt id=" in main:
        for place, term, meaning in re.findall(r'<dt id="([^"]+)">(.*?)</dt>\s*(<dd>.*?</dd>)', main, re.S):
            english, _, spanish = words(term).partition(" / ")
            entry(place, f"{english} / {spanish}", words(meaning))
        return found
    cuts = [m for m in re.finditer(r'<h[2-4]\b[^>]*?data-anchor-id="([^"]+)"[^>]*>(.*?)</h[2-4]>', main, re.S)]
    entry("", "", words(main[:cuts[0].start()] if cuts else main))
    for m, after in zip(cuts, [*cuts[1:], None]):
        entry(unescape(m[1]), words(m[2]), words(main[m.end():after.start() if after else len(main)]))
    # both builds search by Fuse, which puts short texts first: a word joiner counts as a word, and nobody sees it
    for _, place, name, text in names: entry(place, "", f"{name}: {text} (reference)" + " \u2060"*150)
    return found


# ---- all of it

def finish(out: Path, labels: dict[str, str] = {}):
    "Mend a built site in place. `labels`: what the sidebar calls each page."
    pages = {p.name: nothing_from_elsewhere(p.read_text(encoding="utf-8")) for p in sorted(out.glob("*.html"))}
    pages = one_bootstrap(with_files(pages, out), out)
    stylesheets(pages, out)
    ids = {page: {unescape(i) for i in re.findall(r'\bid="([^"]+)"', html)} for page, html in pages.items()}
    steps = (functools.partial(reachable, labels=labels), functools.partial(own_links, ids=ids))
    for page, html in pages.items():
        for step in steps: html = step(html, page)
        for step in (outline, folded, marked, first_look): html = step(html)
        pages[page] = html
        (out/page).write_text(html, encoding="utf-8")
    found = [e for page, html in pages.items() for e in entries(page, html)]
    (out/"search.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")
