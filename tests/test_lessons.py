"""Every notebook runs, once, in a real Jupyter kernel: all that nbdev_test would execute, and its outputs equal the saved ones."""
import asyncio, os, signal, subprocess, time
from queue import Empty
from time import monotonic

import pytest
from nbclient.exceptions import CellExecutionError
from nbdev.config import get_config
from nbdev.frontmatter import FrontmatterProc
from nbdev.process import NBProcessor

import lessons
from conftest import ROOT, count_cells
from patience import in_short_waits

LESSONS = lessons.lessons()


def executed_by_nbdev_test(path) -> list[str]:
    "Ids of the code cells that nbdev_test executes, by its own reading of the notebook (nbdev.test.test_nb)."
    nb = NBProcessor(path, procs=FrontmatterProc, process=True).nb
    if getattr(nb, "frontmatter_", {}).get("skip_exec"): return []
    flags = set(get_config(path=ROOT).tst_flags.split())
    def runs(c):
        directives = getattr(c, "directives_", {}) or {}
        return not ("nbdev_export(" in c.source or directives.get("eval:", [""])[0].lower() == "false" or flags & directives.keys())
    return [c.id for c in nb.cells if c.cell_type == "code" and c.source.strip() and runs(c)]


@pytest.mark.notebook
@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_it_runs_and_prints_what_is_saved(path):
    saved = lessons.read(path)
    assert not [c.source for c in saved.cells if "raises-exception" in c.metadata.get("tags", [])], "a kernel lets such a cell fail"
    fresh = lessons.executed(path)      # raises where a cell fails
    code = {c.id: c for c in fresh.cells if c.cell_type == "code"}
    ran = [i for i, c in code.items() if c.execution_count is not None]
    wanted = executed_by_nbdev_test(path)
    assert [i for i in wanted if i not in ran] == [], "a cell was not executed"
    assert len(ran) >= 5 and len(wanted) == len([c for c in code.values() if c.source.strip() and not lessons.is_skipped(c)])
    assert not [o for c in code.values() for o in c.outputs if o.output_type == "error"]
    count_cells(path.stem, len(ran))
    for old, new in zip(saved.cells, fresh.cells, strict=True):
        if old.cell_type != "code" or lessons.varies(old): continue
        assert lessons.texts(new) == lessons.texts(old), f"in {path.name}, the saved output of this cell is stale:\n{old.source}"


def test_the_reader_is_told_of_skipped_cells(tmp_path):
    "nbdev's reading of a notebook and ours agree on both ways of leaving a cell out."
    nb = lessons.nbformat.v4.new_notebook()
    cell = lessons.nbformat.v4.new_code_cell
    nb.cells = [cell("1 + 1", id="a"), cell("#| eval: false\n1/0", id="b"), cell("import nbdev; nbdev.nbdev_export()", id="c"), cell("#| hide\n2", id="d")]
    path = tmp_path/"00_x.ipynb"
    lessons.nbformat.write(nb, path)
    assert executed_by_nbdev_test(path) == ["a", "d"] == [c.id for c in nb.cells if not lessons.is_skipped(c)]


@pytest.mark.notebook
def test_a_failing_cell_fails_the_run():
    "And IN_TEST is set, as nbdev_test sets it."
    nb = lessons.nbformat.v4.new_notebook()
    nb.cells = [lessons.nbformat.v4.new_code_cell(f"import os; assert os.environ['IN_TEST'] == '{value}'") for value in "10"]
    with pytest.raises(CellExecutionError): lessons.run_cells(nb)
    assert [len(c.outputs) for c in nb.cells] == [0, 1]


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


def test_a_forked_python_is_one(python, tmp_path):
    "Arguments, files, input, environment and exit status as of a Python that was started; it gets Ctrl-C, and dies with who asked for it."
    def run(*args, **kwargs):
        done = subprocess.run([python, *args], capture_output=True, text=True, cwd=tmp_path, **kwargs)
        return done.returncode, done.stdout
    (tmp_path/"a.py").write_text("import sys; print(__name__, sys.argv, sys.path[0], input()); sys.exit(7)")
    assert run(tmp_path/"a.py", "b", input="c") == (7, f"__main__ ['{tmp_path}/a.py', 'b'] {tmp_path} c\n")
    code = "import os, sys; print(sys.argv, os.environ['X'], os.getcwd(), 'covid_nbdev' in sys.modules); os.kill(os.getpid(), 9)"
    assert run("-uc", "print(1)") == (0, "1\n") and run("-m", "a", input="c")[0] == 7
    assert run("-c", code.replace("); os", ", flush=True); os"), "b", env={"X": "y"}) == (-9, f"['-c', 'b'] y {tmp_path} False\n")
    sleep = "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid()))\ntry: time.sleep(99)\nexcept KeyboardInterrupt: exit(5)"
    for end, status in ((signal.SIGINT, 5), (signal.SIGKILL, -9)):
        process = subprocess.Popen([python, "-c", sleep], cwd=tmp_path)
        while not ((tmp_path/"pid").is_file() and (tmp_path/"pid").read_text()): time.sleep(.02)
        process.send_signal(end)
        assert process.wait(20) == status
        pid, deadline = int((tmp_path/"pid").read_text()), monotonic() + 20
        (tmp_path/"pid").unlink()
        with pytest.raises(ProcessLookupError):
            while monotonic() < deadline: os.kill(pid, 0); time.sleep(.02)
