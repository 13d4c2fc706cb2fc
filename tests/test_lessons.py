"""Every lesson runs: by nbdev_test, and in a real Jupyter kernel, where its outputs must equal the saved ones."""
import asyncio, subprocess, sys
from pathlib import Path
from queue import Empty
from time import monotonic

import pytest

import lessons
from conftest import ROOT, count_cells
from patience import in_short_waits

LESSONS = lessons.lessons()


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_nbdev_test(path):
    "nbdev's own test run."
    r = subprocess.run([Path(sys.executable).parent/"nbdev_test", "--path", path], cwd=ROOT, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr[-5000:]
    assert "Success." in r.stdout


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_fresh_outputs_equal_saved(path):
    saved, fresh = lessons.read(path), lessons.executed(path)
    to_run = [c for c in saved.cells if c.cell_type == "code" and not lessons.is_skipped(c)]
    ran = [c for c in fresh.cells if c.cell_type == "code" and c.execution_count is not None]
    count_cells(path.stem, len(ran))
    assert len(ran) == len([c for c in to_run if c.source.strip()]), "a cell was not executed"
    assert len(ran) >= 5
    for old, new in zip(saved.cells, fresh.cells):
        if old.cell_type != "code" or lessons.varies(old): continue
        assert lessons.texts(new) == lessons.texts(old), f"in {path.name}, the saved output of this cell is stale:\n{old.source}"


def test_no_message_is_missed():
    "A channel that is told of no arrival: it is found at the next look, not at the cell's timeout. Silence still ends."
    arrives = monotonic() + .1
    async def deaf(timeout):
        if monotonic() >= arrives: return "message"
        await asyncio.sleep(timeout)
        raise Empty
    start = monotonic()
    assert asyncio.run(in_short_waits(deaf, .2)(timeout=60)) == "message" and monotonic() - start < 30
    arrives = float("inf")
    with pytest.raises(Empty): asyncio.run(in_short_waits(deaf, .01)(timeout=.05))
