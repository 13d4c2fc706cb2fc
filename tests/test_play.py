"""The figures that play without a kernel, in a real browser: what they show is what the library computes."""
import base64, io, re, tomllib

import numpy as np
import pytest
from PIL import Image

import lessons
from conftest import ROOT
from covid_nbdev.core import BadInput
from covid_nbdev.hu import WINDOWS, window
from covid_nbdev.masks import AGREE, CLASSES, FALSE_NEGATIVE, FALSE_POSITIVE
from covid_nbdev.metrics import ConfusionMatrix, confusion, dice, miou_by_batch, miou_per_image, miou_pooled
from covid_nbdev.phantom import make_slice
from covid_nbdev.play import scores_html, second_reader_html, window_html

SIZE = 128
PAGE = """<!doctype html><html lang="en"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Play</title>
<style>body {{ background: {colors} }}</style>
<script>window.names = Object.keys(window); window.said = {{}};
document.addEventListener("covid-play", event => {{ window.said = event.detail }})</script>
<body><main><h1>Play</h1>{figures}</main></body></html>"""


@pytest.fixture(scope="module")
def patient():
    hu, true = make_slice(seed=20, size=SIZE, style="radiopaedia")
    pred = np.roll(true, 2, axis=1)
    return hu, true, pred


@pytest.fixture(scope="module")
def few():
    "Eleven slices, so that the last batch is a smaller one, some without any lesion; predictions that err."
    true = np.stack([make_slice(seed=s, size=64)[1] for s in range(11)])
    true[[2, 3, 7]] = np.where(true[[2, 3, 7]] < 2, 2, true[[2, 3, 7]])
    pred = np.stack([np.roll(t, s % 3, axis=s % 2) for s, t in enumerate(true)])
    pred[3, 32, 32] = 1
    return pred, true


SPARE = {}      # pages that no test uses now, by their options: a page of its own is a process of its own


@pytest.fixture
def page_of(browser):
    "Opens a page with these figures, `tell`ing into `window.said`; at the end nothing may have gone wrong in it."
    opened = []

    def new_page(options):
        page = browser.new_context(**options).new_page()
        page.wrong = []
        page.on("console", lambda m: page.wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: page.wrong.append(str(e)))
        page.on("request", lambda r: None if r.url.startswith(("data:", "about:", "blob:")) else page.wrong.append(r.url))
        return page

    def open_page(*figures, width=1300, height=1000, dark=False, **options):
        spare = SPARE.setdefault((browser, *sorted(options.items())), [])
        page = spare.pop() if spare else new_page(options)
        opened.append((page, spare))
        page.set_viewport_size({"width": width, "height": height})
        page.set_content(PAGE.format(colors="#16181c; color: #e6e6e6" if dark else "#fff; color: #222", figures="\n".join(figures)))
        if options.get("java_script_enabled", True):
            for figure in page.locator("[data-covid-play]").all():
                figure.locator(".covid-play-body").wait_for()
        return page
    yield open_page
    for page, spare in opened:
        page.mouse.up(); page.mouse.move(0, 0)
        page.goto("about:blank")      # with a window of its own
        wrong, page.wrong = page.wrong, []
        assert wrong == []
        spare.append(page)


def said(page) -> dict: return page.evaluate("window.said")


def slide(page, **values) -> tuple[dict, str]:
    "Sets sliders, named by the first word of their labels, as `fill` does, at one go: what the figure tells then, and its <output>."
    return page.evaluate("""values => {
        for (const [word, value] of Object.entries(values)) {
            const input = [...document.querySelectorAll("label.covid-play-slider")].find(l => l.textContent.startsWith(word)).querySelector("input");
            input.value = value;
            for (const name of ["input", "change"]) input.dispatchEvent(new Event(name, {bubbles: true}));
        }
        return [window.said, document.querySelector("output").innerText]; }""", values)


def saved_figures(lesson: str) -> list[str]:
    "The playable figures that a lesson's notebook holds, as HTML."
    nb = lessons.read(ROOT/"nbs"/f"{lesson}.ipynb")
    return [o["data"]["text/html"] for c in nb.cells if c.cell_type == "code" for o in c.outputs
            if "data-covid-play" in o.get("data", {}).get("text/html", "")]


def holds_the_present_files(html: str, name: str, lesson: str):
    for file in ("play.css", "play.js", f"{name}.js"):
        source = (ROOT/"covid_nbdev"/"play"/file).read_text(encoding="utf-8")
        assert "\n".join(l for l in source.splitlines() if l.strip()) in html, f"stale: tools/lessons.py --write {lesson}"


def one_figure(lesson: str, name: str) -> str:
    "The lesson's only playable figure: that of this name, in one piece, which fetches nothing."
    html, = saved_figures(lesson)
    assert f'data-covid-play="{name}"' in html
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|\beval\(|fetch\(", html) and "\n\n" not in html and "$" not in html
    return html


def grave_faults(page) -> list[str]:
    "What axe finds in a page that keeps people from using it."
    from axe_playwright_python.sync_playwright import Axe
    return [v["id"] for v in Axe().run(page).response["violations"] if v["impact"] in ("serious", "critical")]


def faults_and_doubts(page) -> list[str]:
    "All that axe finds, and text whose contrast it can't tell."
    from axe_playwright_python.sync_playwright import Axe
    found = Axe().run(page).response
    return [v["id"] for v in found["violations"]] + [v["id"] for v in found["incomplete"] if v["id"] == "color-contrast"]


def picture(address: str) -> np.ndarray:
    "A picture in a data: address."
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))


def pixels(page) -> np.ndarray:
    "RGB as the first canvas holds it."
    return picture(page.evaluate('document.querySelector("canvas").toDataURL()'))[..., :3]


def at(box, size, column, row):
    "Where on the page the middle of a pixel lies, in whole pixels of the screen, and what the picture's coordinates are there."
    x = round(box["x"] + (column + .5)*box["width"]/size[1])
    y = round(box["y"] + (row + .5)*box["height"]/size[0])
    return x, y, (x - box["x"])/box["width"]*size[1], (y - box["y"])/box["height"]*size[0]


# ---- the window
def test_window_shows_what_the_library_computes(page_of, patient):
    hu = patient[0]
    page = page_of(window_html(hu))
    for name, (level, width) in WINDOWS.items():
        page.get_by_role("button", name=name).click()
        assert (said(page)["level"], said(page)["width"]) == (level, width)
        assert page.get_by_role("button", name=name).get_attribute("aria-pressed") == "true"
        assert np.abs(pixels(page)[..., 0] - 255*window(hu, level, width)).max() <= .501
        black, white = (window(hu, level, width) == 0).mean(), (window(hu, level, width) == 1).mean()
        shown = re.search(r"(\d+) % of the pixels are black, (\d+) % white", page.locator("figure").inner_text())
        assert [int(v) for v in shown.groups()] == pytest.approx([100*black, 100*white], abs=.51)


@pytest.mark.parametrize("label", ["Level", "Width"])
def test_window_sliders_by_keyboard(page_of, patient, label):
    page = page_of(window_html(patient[0]))
    before, level, width = pixels(page), *WINDOWS["lung"]
    page.get_by_role("slider", name=label).focus()
    for _ in range(5): page.keyboard.press("ArrowRight")
    level, width = (level + 50, width) if label == "Level" else (level, width + 50)
    assert (said(page)["level"], said(page)["width"]) == (level, width)
    assert (pixels(page) != before).any()
    assert np.abs(pixels(page)[..., 0] - 255*window(patient[0], level, width)).max() <= .501


def test_value_under_the_cursor(page_of, patient):
    hu = patient[0]
    page = page_of(window_html(hu))
    box = page.locator("canvas").bounding_box()
    for row, column in ((5, 9), (64, 64), (SIZE - 1, 0), (40, SIZE - 1), (77, 91)):
        page.mouse.move(*at(box, hu.shape, column, row)[:2])
        assert said(page) | {"row": row, "column": column, "hu": int(hu[row, column])} == said(page)
        number = str(hu[row, column]).replace("-", "\u2212")
        assert f"{number} HU at row {row}, column {column}" in page.locator("figure").inner_text()
    page.locator("canvas").focus()
    for key in ("ArrowUp", "ArrowUp", "ArrowLeft", "Shift+ArrowUp"): page.keyboard.press(key)
    assert (said(page)["row"], said(page)["column"]) == (77 - 12, 90)
    assert said(page)["hu"] == hu[65, 90]


def test_window_takes_every_16_bit_value(page_of):
    hu = np.linspace(-32768, 32767, 64*64).round().astype(np.int16).reshape(64, 64)
    page = page_of(window_html(hu))
    box = page.locator("canvas").bounding_box()
    for row, column in ((0, 0), (20, 31), (31, 63), (32, 0), (63, 63)):
        page.mouse.move(*at(box, hu.shape, column, row)[:2])
        assert said(page)["hu"] == hu[row, column]


# ---- the second reader
def capsule(size, points, radius):
    "Pixels whose middle lies within `radius` of a way: what a brush leaves, computed afresh."
    rows, columns = np.mgrid[:size[0], :size[1]] + .5
    drawn = np.zeros(size, bool)
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[-1:]):
        dx, dy = x1 - x0, y1 - y0
        t = (((columns - x0)*dx + (rows - y0)*dy)/max(dx*dx + dy*dy, 1e-12)).clip(0, 1)
        drawn |= np.hypot(columns - x0 - t*dx, rows - y0 - t*dy) <= radius
    return drawn


def sheet(page):
    "The canvas's box on the page, and its (rows, columns)."
    page.locator("canvas").scroll_into_view_if_needed()
    return page.locator("canvas").bounding_box(), tuple(page.locator("canvas").evaluate("c => [c.height, c.width]"))


def drag(page, box, size, places):
    points = [at(box, size, column, row) for column, row in places]
    page.mouse.move(*points[0][:2])
    page.mouse.down()
    for p in points[1:]: page.mouse.move(*p[:2], steps=3)
    page.mouse.up()
    return [p[2:] for p in points]


def lesion_dice(a, b) -> float: return float(dice(np.asarray(a).astype(int), np.asarray(b).astype(int))[1])


def part_of(patient, size):
    "The figure shows the lungs alone: the same cut of truth and prediction."
    hu, true, pred = patient
    rows, columns = np.nonzero((true < 3) | (pred < 2))
    top, left = max(0, rows.min() - 6), max(0, columns.min() - 6)
    return tuple(a[top:top + size[0], left:left + size[1]] < 2 for a in (true, pred))


def test_dice_of_drawings_is_the_library_s(page_of, patient):
    "Two drawings by mouse, with brush and eraser; Dice of all pairs."
    page = page_of(second_reader_html(*patient, model="A test"))
    box, size = sheet(page)
    empty = pixels(page)
    done = page.get_by_role("button", name="Done")
    assert done.is_disabled()
    first = capsule(size, drag(page, box, size, [(20, 30), (30, 50), (50, 45)]), 4)
    assert (np.array(said(page)["drawn"]).reshape(size) == first).mean() > .9995
    assert (pixels(page) != empty).any()
    page.get_by_role("slider", name="Brush radius").fill("7")
    page.get_by_role("radio", name="eraser").check()
    first &= ~capsule(size, drag(page, box, size, [(30, 50), (33, 50)]), 7)
    text = page.locator("figure").inner_text()
    assert "truth:" not in text and "Dice" not in text.split("Both kinds")[0], "the truth shows only after both drawings"
    done.click()
    assert (pixels(page) == empty).all(), "the first drawing is hidden"
    assert page.get_by_role("radio", name="eraser").is_checked()
    page.get_by_role("radio", name="brush").check()
    second = capsule(size, drag(page, box, size, [(22, 32), (30, 47)]), 7)
    done.click()
    truth, predicted = part_of(patient, size)
    drawn = [np.array(d).reshape(size) for d in said(page)["drawings"]]
    for mine, theirs in zip((first, second), drawn): assert (mine == theirs).mean() > .9995
    expected = {"twice": lesion_dice(*drawn), "first": lesion_dice(drawn[0], truth), "second": lesion_dice(drawn[1], truth),
                "model": lesion_dice(patient[2] < 2, patient[1] < 2)}
    assert said(page)["dice"] == pytest.approx(expected)
    assert lesion_dice(first, second) == pytest.approx(expected["twice"], abs=.003)
    for name, label in {"twice": "you, twice", "first": "your first drawing and the truth",
                        "second": "your second drawing and the truth", "model": "A test and the truth"}.items():
        assert re.search(rf"{label}: {expected[name]:.3f}", page.locator("figure").inner_text())


def test_result_pictures_and_counts(page_of, patient):
    page = page_of(second_reader_html(*patient))
    box, size = sheet(page)
    for _ in range(2):
        drag(page, box, size, [(30, 40), (40, 45)])
        page.get_by_role("button", name="Done").click()
    truth, predicted = part_of(patient, size)
    before = pixels(page)
    page.get_by_role("radio", name="the model and the truth").check()
    now = pixels(page).astype(int)
    assert (now != before).any()
    both, red, green = predicted & truth, predicted & ~truth, truth & ~predicted
    text = page.locator("figure").inner_text()
    for said_px in (f"both, {both.sum()} px", f"not true, {red.sum()} px", f"not predicted, {green.sum()} px"): assert said_px in text
    r, g, b = now.transpose(2, 0, 1)
    assert (r > b)[both].all() and (g > b)[both].all() and (r > g)[red].all() and (g > r)[green].all()
    assert "not for diagnosis" in text
    page.get_by_role("button", name="Draw again").click()
    assert said(page)["turn"] == 0 and not any(said(page)["drawn"])


def test_undo_clear_and_keyboard(page_of, patient):
    page = page_of(second_reader_html(*patient))
    box, size = sheet(page)
    def drawn(): return np.array(said(page)["drawn"]).reshape(size)
    drag(page, box, size, [(20, 20), (40, 20)])
    one = drawn()
    drag(page, box, size, [(20, 40), (40, 40)])
    page.get_by_role("button", name="Undo").click()
    assert (drawn() == one).all() and one.any()
    page.get_by_role("button", name="Clear").click()
    assert not drawn().any()
    page.get_by_role("button", name="Undo").click()
    assert (drawn() == one).all()
    page.get_by_role("button", name="Clear").click()
    page.locator("canvas").focus()
    page.mouse.move(*at(box, size, 50, 30)[:2])
    x, y = at(box, size, 50, 30)[2:]
    for key in ("Space", "Shift+ArrowRight", "ArrowRight", "Shift+ArrowDown", "Space", "ArrowLeft"): page.keyboard.press(key)
    expected = capsule(size, [(x, y), (x + 9, y), (x + 9, y + 8)], 4)
    assert (drawn() == expected).mean() > .9995 and drawn().any()
    page.keyboard.press("Control+z")
    assert not drawn().any()


def finger(client, *points):
    "Puts a finger on the first point, moves it on, lifts it."
    for kind, p in zip(["touchStart"] + ["touchMove"]*len(points), points):
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": p[0], "y": p[1]}]})
    client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_drawing_by_touch_on_a_phone(page_of, patient):
    "360 px wide, real touch events; the picture draws instead of scrolling the page."
    page = page_of(second_reader_html(*patient), width=360, height=700, has_touch=True, is_mobile=True)
    client = page.context.new_cdp_session(page)
    for turn in range(2):
        (box, size), scrolled = sheet(page), page.evaluate("scrollY")
        points = [at(box, size, column, row) for column, row in ((30, 20), (30, 40 + turn), (50, 60))]
        finger(client, *points)
        drawn = np.array(said(page)["drawn"]).reshape(size)
        assert (drawn == capsule(size, [p[2:] for p in points], 4)).mean() > .9995 and drawn.any()
        assert page.evaluate("scrollY") == scrolled
        done = page.get_by_role("button", name="Done")
        done.scroll_into_view_if_needed()
        spot = done.bounding_box()
        finger(client, (spot["x"] + spot["width"]/2, spot["y"] + spot["height"]/2))
        page.wait_for_function(f"said.turn === {turn + 1}", timeout=5000)      # a tap becomes a click a little later
    assert "you, twice:" in page.locator("figure").inner_text()


def test_value_under_the_finger(page_of, patient):
    page = page_of(window_html(patient[0]), width=360, height=700, has_touch=True, is_mobile=True)
    box, size = sheet(page)
    finger(page.context.new_cdp_session(page), at(box, size, 70, 33))
    assert (said(page)["row"], said(page)["column"], said(page)["hu"]) == (33, 70, patient[0][33, 70])


# ---- many scores
def by_convention(matrices, classes, absent, size):
    "The library's score of one convention; None where nothing is left to average."
    scores = []
    for i in range(0, len(matrices), size):
        batch = ConfusionMatrix(np.sum(matrices[i:i + size], axis=0))
        scores.append(batch.miou(classes) if absent == "left out" else float(batch.iou()[list(classes)].mean()))
    return None if np.isnan(scores).all() else float(np.nanmean(scores))


CLICK_ALL = """() => {     // some classes, each rule with each average: the classes in bits, what the figure tells, and the number it shows
    const [classes, rules, averages] = Array.from(document.querySelectorAll("fieldset")).map(f => Array.from(f.querySelectorAll("input")));
    return Array.from({length: 15}, (_, i) => i + 1).flatMap(bits => {
        classes.forEach((box, c) => { if (box.checked !== Boolean(bits >> c & 1)) box.click(); });
        return rules.flatMap(rule => averages.map(average => {
            rule.click(); average.click();
            return [bits, window.said, document.querySelector(".covid-play-score").textContent] })) }) }"""


def test_every_convention_equals_the_library(page_of, few):
    pred, true = few
    matrices = np.stack([confusion(p, t) for p, t in zip(pred, true)])
    page = page_of(scores_html(pred, true))
    sizes, rules = (11, 1, 2, 4, 8), ("left out", "1 where in neither")
    shown, every = set(), []
    for bits, found, text in page.evaluate(CLICK_ALL):
        classes = [c for c in range(4) if bits >> c & 1]
        expected = by_convention(matrices, classes, found["absent"], found["batch"])
        every.append(expected)
        assert found["classes"] == classes and found["score"] == pytest.approx(expected, abs=1e-12)
        assert float(text.split()[1]) == pytest.approx(expected, abs=.000501)
        shown.add((bits, found["absent"], found["batch"], text))
    assert len(shown) == 15*len(rules)*len(sizes) and len({text for *_, text in shown}) > 50
    for name, expected in {"Kindest": max(every), "Harshest": min(every), "This package's": miou_pooled(matrices)}.items():
        page.get_by_role("button", name=name).click()
        assert said(page)["score"] == pytest.approx(expected)
    page.get_by_role("radio", name="images").check(); assert said(page)["score"] == pytest.approx(miou_per_image(matrices))
    page.get_by_role("radio", name="batches of 4").check(); assert said(page)["score"] == pytest.approx(miou_by_batch(matrices, 4))
    assert page.locator(".covid-play-batch").count() == 3
    batches = page.locator(".covid-play-batch span").all_inner_texts()
    assert [float(b) for b in batches] == pytest.approx([miou_pooled(matrices[i:i + 4]) for i in (0, 4, 8)], abs=.000501)


def test_scores_pixels_and_counts(page_of, few):
    pred, true = few
    page = page_of(scores_html(pred, true))
    def counts(): return [int(n) for n in re.findall(r"(\d+) px", page.locator("figure").inner_text())]
    def mosaic():
        shown = page.evaluate('Array.from(document.querySelectorAll("canvas")).map(c => c.toDataURL())')
        return np.concatenate([picture(address) for address in shown]).reshape(*true.shape, 4)[..., :3]
    def color(rgb): return np.rint(255*np.array(rgb))
    wrong, lost = pred != true, (true < 2) & (pred > 1)
    assert counts() == [(~wrong).sum(), wrong.sum(), wrong.sum()]      # all four count: false for one class, missed for another
    assert (mosaic()[lost] == color(FALSE_NEGATIVE)).all() and (mosaic()[wrong & ~lost] == color(FALSE_POSITIVE)).all()
    before = pixels(page)
    for c in (2, 3): page.get_by_role("checkbox", name=CLASSES[c].replace("_", " ")).uncheck()
    assert (pixels(page) != before).any()
    both, red, green = ~wrong & (true < 2), wrong & (pred < 2), wrong & (true < 2)
    assert counts() == [both.sum(), red.sum(), green.sum()]
    for where, rgb in ((both, AGREE), (red, FALSE_POSITIVE), (lost, FALSE_NEGATIVE)):
        assert where.any() and (mosaic()[where] == color(rgb)).all(), "the colors of `masks`"
    for c in (0, 1): page.get_by_role("checkbox", name=CLASSES[c].replace("_", " ")).uncheck()
    assert said(page)["score"] is None and "nothing to average" in page.locator("figure").inner_text()


# ---- all of them
@pytest.fixture(scope="module")
def figures(patient, few):
    return [window_html(patient[0]), second_reader_html(*patient), scores_html(*few)]


def test_several_on_one_page_do_not_collide(page_of, patient, figures):
    "Each twice, and a second patient: what moves one leaves the others as they are; nothing is global."
    other = window_html(make_slice(seed=3, size=SIZE)[0])
    page = page_of(*figures, other, *figures)
    assert page.locator('[data-state="ready"]').count() == 7
    shots = lambda: [page.evaluate("""i => Array.from(document.querySelectorAll("[data-covid-play]")[i].querySelectorAll("canvas"))
                                      .map(c => c.toDataURL()).join()""", i) for i in range(7)]
    before = shots()
    page.locator("[data-covid-play]").nth(3).get_by_role("button", name="bone").click()
    assert [a == b for a, b in zip(before, shots())] == [True]*3 + [False] + [True]*3
    page.locator("[data-covid-play]").nth(6).get_by_role("checkbox", name="background").uncheck()
    assert [a == b for a, b in zip(before, shots())] == [True]*3 + [False] + [True]*2 + [False]
    page.locator("[data-covid-play]").nth(2).get_by_role("radio", name="images").check()
    assert page.locator("[data-covid-play]").nth(6).get_by_role("radio", name="images").is_checked() is False
    assert page.evaluate("Object.keys(window).filter(name => !window.names.includes(name))") == ["names", "said"]
    ids = page.evaluate('Array.from(document.querySelectorAll("figure [id]")).map(e => e.id)')
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("width, dark", [(1300, False), (360, True)])
def test_fits_and_is_accessible(page_of, figures, width, dark):
    from axe_playwright_python.sync_playwright import Axe
    page = page_of(*figures, width=width, dark=dark)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    second = page.locator('[data-covid-play="second_reader"]')
    for _ in range(2):     # its results too
        second.locator("canvas").click()
        second.get_by_role("button", name="Done").click()
    found = Axe().run(page).response
    assert len(found["passes"]) > 10
    bad = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
    assert [(v["id"], [n["html"] for n in v["nodes"]]) for v in bad] == []
    unsure = [n["html"] for v in found["incomplete"] if v["id"] == "color-contrast" for n in v["nodes"]]
    assert unsure == [], "axe could not tell the contrast"
    assert page.locator("figure[aria-label] figcaption").count() == 3 and page.locator("[aria-live]").count() >= 5


@pytest.mark.parametrize("number", range(3), ids=["window", "reader", "scores"])
def test_without_scripts_a_still_picture(page_of, figures, number):
    page = page_of(figures[number], java_script_enabled=False)
    img = page.locator("figure img")
    assert img.is_visible() and len(img.get_attribute("alt")) > 30 and img.bounding_box()["width"] > 200
    assert "Scripts are off" in page.locator("figure").inner_text()
    assert picture(img.get_attribute("src")).std() > 10


def test_an_old_browser_keeps_the_still(browser, figures):
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto("about:blank")
    page.set_content("".join(figures))
    page.locator('[data-state="still"]').nth(2).wait_for()
    assert page.locator("figure img").count() == 3 and page.get_by_text("still picture stands in").count() == 3
    context.close()


def test_html_stands_alone(figures):
    "No address outside, no eval, nothing that Markdown or MathJax would take for its own."
    for html in figures:
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|\beval\(|new Function|import\(|fetch\(|XMLHttpRequest|localStorage", html)
        assert "\n\n" not in html and "$" not in html and html.count("</script>") == 2 and len(html) < 300_000
        assert html.startswith("<figure") and html.endswith("</figure>") and len(repr(html)) < 60
        assert html._repr_html_() == str(html) and type(html._repr_html_()) is str


def test_what_users_can_get_wrong(patient, few):
    hu, true, pred = patient
    for call in (lambda: window_html(np.stack([hu]*2)), lambda: window_html(np.uint8(hu % 255)), lambda: window_html(hu*np.nan),
                 lambda: second_reader_html(hu, true[1:], pred), lambda: second_reader_html(hu, true, np.full_like(true, 255)),
                 lambda: second_reader_html(hu, np.full_like(true, 3), pred), lambda: scores_html(few[0][0], few[1][0]),
                 lambda: scores_html(few[0][:2], few[1])):
        with pytest.raises(BadInput, match="found .+; expected"): call()


def test_names_are_escaped(page_of, patient):
    page = page_of(second_reader_html(*patient, model='</script><b onload="x">'))
    assert page.locator("figure b").count() == 0 and '<b onload="x">' in page.locator("figure").get_attribute("aria-label")


@pytest.mark.parametrize("lesson, names", [("01_hu", ["hu_window"]), ("02_masks", ["onehot"]), ("03_metrics", ["second_reader", "many_scores"]), ("09_convolution", ["convolution"]), ("10_gradients", ["graph"])])
def test_lessons_show_the_present_scripts(page_of, lesson, names):
    "The saved figures hold the files of today, and play."
    saved = saved_figures(lesson)
    assert [re.search(r'data-covid-play="(\w+)"', s)[1] for s in saved] == names
    for html, name in zip(saved, names):
        holds_the_present_files(html, name, lesson)
    page = page_of(*saved, width=360)
    assert page.locator('[data-state="ready"]').count() == len(names)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_scripts_are_package_data():
    patterns = tomllib.loads((ROOT/"pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["covid_nbdev"]
    files = {p for pattern in patterns for p in (ROOT/"covid_nbdev").glob(pattern)}
    assert files >= {p for p in (ROOT/"covid_nbdev"/"play").iterdir() if p.is_file()}
