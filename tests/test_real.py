"""The whole way on real CT, small: a few slices, one epoch, 128 pixels. Never committed, never shown."""
import ast, json, re, symtable

import numpy as np
import pytest

import lessons
from conftest import ROOT
from covid_nbdev.etl import Store, build_store, split
from covid_nbdev.metrics import ConfusionMatrix
from covid_nbdev.results import threshold_baseline


@pytest.fixture(scope="module")
def few(real_layout, tmp_path_factory):
    "Eight labeled slices and one test slice, as Kaggle's files."
    dest = tmp_path_factory.mktemp("few")
    for stem, n in (("images_medseg", 8), ("masks_medseg", 8), ("test_images_medseg", 1)):
        np.save(dest/f"{stem}.npy", np.load(real_layout/f"{stem}.npy", mmap_mode="r")[:n])
    return dest


def test_whole_way(few, tmp_path, cli):
    run = tmp_path/"run"
    status, out, err = cli("covid_train", few, run, "--epochs", 1, "--size", 128, "--batch_size", 4)
    assert status == 0, err
    m = json.loads((run/"metrics.json").read_text())
    assert (m["n_train"], m["n_valid"], m["mask_size"]) == (6, 2, 512)
    status, out, err = cli("covid_predict", run, few/"images_medseg.npy", tmp_path/"predicted")
    assert status == 0, err
    pred, store = np.load(tmp_path/"predicted"/"labels.npy"), Store(run/"store")
    valid = split(store).valid
    cm = ConfusionMatrix().update(pred[valid], store.labels[valid])
    assert cm.iou().tolist() == [v for v in m["iou"].values()]
    assert cli("covid_submission", run, few, tmp_path/"submission.csv")[0] == 0
    assert sum(1 for _ in open(tmp_path/"submission.csv")) == 512*512*2 + 1


def test_threshold_baseline_is_where_design_says(real_layout, tmp_path):
    "As measured. DESIGN gives 0.31, 0.06, 0.75, 0.92 for automatic lungs and two fixed thresholds; ours are searched on the training slices."
    store = build_store(real_layout, tmp_path/"store")
    rows = split(store)
    assert (len(rows.train), len(rows.valid), len(rows.test)) == (64, 24, 10)
    baseline = threshold_baseline((store.images[r] for r in rows.train), (store.labels[r] for r in rows.train))
    cm = ConfusionMatrix()
    for r in rows.valid: cm.update(baseline(store.images[r]), store.labels[r])
    np.testing.assert_allclose(cm.iou(), [.302, .170, .737, .967], atol=.01)     # ground glass, consolidation, other lung, background


def names(cell) -> tuple[set, set, set]:
    "Global names of a code cell: what it sets, what it changes a part of, what it uses without having set it."
    source = re.sub(r"^( *)[%!].*$", r"\1pass", cell.source, flags=re.M)
    top, sets, parts, uses = symtable.symtable(source, "cell", "exec"), set(), set(), set()
    tables = [top]
    while tables:
        tables += (table := tables.pop()).get_children()
        for symbol in table.get_symbols():
            if table is top and (symbol.is_assigned() or symbol.is_imported()): sets.add(symbol.get_name())
            if symbol.is_referenced() and (table is top or symbol.is_global()): uses.add(symbol.get_name())
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Subscript, ast.Attribute)) and not isinstance(node.ctx, ast.Load):
            while isinstance(node, (ast.Subscript, ast.Attribute)): node = node.value
            if isinstance(node, ast.Name): parts.add(node.id)
    return sets, parts - sets, (uses | parts) - sets


def that_touch_the_data(cells) -> list:
    "Code cells that look for Kaggle's files or use what came from there, and those that they need. (All others run in test_lessons.py.)"
    code = [(c, *names(c)) for c in cells if c.cell_type == "code" and not lessons.is_skipped(c)]
    chosen, touched, needed = set(), set(), set()
    for c, sets, parts, uses in code:
        if "find_competition_data()" in c.source or uses & touched: chosen.add(c.id); touched |= sets | parts
        else: touched -= sets
    assert chosen
    for c, sets, parts, uses in reversed(code):
        if c.id in chosen or " import *" in c.source or (sets | parts) & needed: chosen.add(c.id); needed = needed - sets | uses
    return [c for c, *_ in code if c.id in chosen]


@pytest.mark.notebook
@pytest.mark.parametrize("name", ["01_hu", "02_masks", "05_etl", "06_eda"])
def test_lessons_run_on_kaggles_files(name, real_layout):
    "Where COVID_DATA names a folder in Kaggle's layout, the lesson shows it, without an edit. Nothing is saved."
    nb = lessons.read(ROOT/"nbs"/f"{name}.ipynb")
    nb.cells = that_touch_the_data(nb.cells)
    nb = lessons.run_cells(nb, data=real_layout)
    assert not [o for c in nb.cells if c.cell_type == "code" for o in c.outputs if o.output_type == "error"]
