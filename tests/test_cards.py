"The recall questions: eight in each lesson, and all of them in a package that Anki can open."
import re, sqlite3, zipfile

import pytest

import cards, lessons

LESSONS = [p for p in lessons.lessons() if p.stem[:2].isdigit() and not lessons.is_workshop(p)]


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_eight_questions_in_one_form(path):
    nb = lessons.read(path)
    found = cards.questions(nb)
    assert len(found) == 8 and all(q and a for q, a in found)
    text = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    assert len(re.findall(r"^## Recall\n\nAnswer from memory, then unfold.$", text, re.M)) == text.count("Answer from memory") == 1
    assert re.findall(r"^## (\d+)\. ", text.partition("\n## Recall\n")[2], re.M)[:8] == list("12345678")


def test_the_package(tmp_path):
    "As Anki reads it: a zip with an SQLite collection. Made twice, the same cards."
    n = cards.write(tmp_path/"a.apkg")
    cards.write(tmp_path/"b.apkg")
    notes = []
    for name in "ab":
        with zipfile.ZipFile(tmp_path/f"{name}.apkg") as z: z.extract("collection.anki2", tmp_path/name)
        with sqlite3.connect(tmp_path/name/"collection.anki2") as db: notes.append(dict(db.execute("select guid, flds from notes").fetchall()))
    assert notes[0] == notes[1] and len(notes[0]) == n == 8*len(LESSONS)
    for fields in notes[0].values():
        question, answer, lesson = fields.split("\x1f")
        assert question and answer and re.match(r"\d\d \S", lesson)
        assert not re.search(r"\]\(|\*\*|`|\$|:::", question + answer), fields


def test_markdown_to_html():
    assert cards.as_html("a < b, **so** `x*y*z` is *in* [03](03_metrics.ipynb): $p - y$\n\n- one\n- two") == (
        r"a &lt; b, <b>so</b> <code>x*y*z</code> is <i>in</i> 03: \(p - y\)<br><br>- one<br>• two")
