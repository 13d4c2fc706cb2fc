"""Every lesson runs: by nbdev_test, and in a real Jupyter kernel, where its outputs must equal the saved ones."""
import os, subprocess, sys
from pathlib import Path

import pytest

import lessons
from conftest import ROOT, note

LESSONS = lessons.lessons()


def test_nbdev_test():
    "nbdev's own test run over all lessons; two at a time, one thread each."
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    r = subprocess.run([Path(sys.executable).parent/"nbdev_test", "--n_workers", "2", "--timing"], cwd=ROOT, env=env,
                       capture_output=True, text=True)
    assert r.returncode == 0, r.stderr[-5000:]
    assert "Success." in r.stdout


counts = {}


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_fresh_outputs_equal_saved(path):
    saved, fresh = lessons.read(path), lessons.executed(path)
    to_run = [c for c in saved.cells if c.cell_type == "code" and not lessons.is_skipped(c)]
    ran = [c for c in fresh.cells if c.cell_type == "code" and c.execution_count is not None]
    counts[path.stem] = len(ran)
    assert len(ran) == len([c for c in to_run if c.source.strip()]), "a cell was not executed"
    for old, new in zip(saved.cells, fresh.cells):
        if old.cell_type != "code" or lessons.varies(old): continue
        assert lessons.texts(new) == lessons.texts(old), f"in {path.name}, the saved output of this cell is stale:\n{old.source}"


def test_cells_were_executed():
    "Runs last: how many cells were executed in a kernel, said at the end of the run."
    if len(counts) < len(LESSONS): return    # a part of the tests was chosen
    note(f"lessons: {sum(counts.values())} code cells executed in a kernel: "
         + ", ".join(f"{name} {n}" for name, n in counts.items()))
    assert all(n >= 5 for n in counts.values())
