"""The lessons' recall questions as a deck of Anki cards.

    python tools/cards.py cards.apkg      what the site offers (tools/docs.py makes it, too)
    python tools/cards.py                 prints the questions, lesson by lesson

A card's number follows from its lesson and place, so that a deck imported again keeps what Anki knows of a reader's progress.
"""
import html, re, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import lessons
from house import rooms

QUESTION = re.compile(r'^::: \{\.callout-tip collapse="true"\}\n## (\d+)\. (.+)\n((?:.*\n)+?):::$', re.M)
DECK = 1_900_451_772        # Anki tells decks and kinds of cards by such numbers: made once, never changed


def questions(nb) -> list[tuple[str, str]]:
    "Question and answer, in Markdown, of a lesson's section Recall; none if it has none."
    text = "\n\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    section = re.split(r"^## (?!\d+\. )", text.partition("\n## Recall\n")[2], maxsplit=1, flags=re.M)[0]
    return [(question, answer.strip()) for _, question, answer in QUESTION.findall(section)]


def as_html(markdown: str) -> str:
    "Formulas for Anki's MathJax, code, emphasis, links as their words; everything else as text."
    out = html.escape(markdown, quote=False)
    out = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", out)
    out = re.sub(r"\$\$(.+?)\$\$", r"\\[\1\\]", out, flags=re.S)
    out = re.sub(r"(?<!\\)\$([^$\n]+)\$", r"\\(\1\\)", out)
    out = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", out)
    out = re.sub(r"\*\*([^*\n]+)\*\*", r"<b>\1</b>", out)
    out = re.sub(r"(?<![\w*])\*([^*\n]+)\*(?!\w)", r"<i>\1</i>", out)
    return out.replace("\n\n", "<br><br>").replace("\n- ", "<br>• ").replace("\n", " ")


def collect() -> list[tuple[str, str, str, str]]:     # lesson's number and name, its title, question, answer
    return [(Path(room.file).stem, room.title, question, answer) for room in rooms()
            for question, answer in questions(lessons.read(lessons.NBS/room.file))]


def write(out) -> int:
    "The package at `out`; how many cards."
    import genanki
    look = dict(qfmt="<p class=lesson>{{Lesson}}</p>{{Question}}", afmt="{{FrontSide}}<hr id=answer>{{Answer}}<p class=lesson>Not for diagnosis.</p>")
    css = ".card {font: 20px/1.4 sans-serif; max-width: 36em; margin: auto} .lesson {color: #767676; font-size: 14px}"
    model = genanki.Model(DECK + 1, "covid_nbdev", fields=[{"name": n} for n in ("Question", "Answer", "Lesson")],
                          templates=[{"name": "recall", **look}], css=css)
    deck, cards = genanki.Deck(DECK, "covid_nbdev: CT, masks, networks, judgment"), collect()
    place = {}
    for stem, name, question, answer in cards:
        place[stem] = place.get(stem, 0) + 1
        deck.add_note(genanki.Note(model, [as_html(question), as_html(answer), html.escape(f"{stem[:2]} {name}")],
                                   guid=genanki.guid_for(stem.partition("_")[2], place[stem]), tags=[stem]))
    genanki.Package(deck).write_to_file(str(out))
    return len(cards)


if __name__ == "__main__":
    if sys.argv[1:]: print(f"{write(sys.argv[1])} cards in {sys.argv[1]}")
    else:
        for stem, name, question, answer in collect(): print(f"{stem}  {question}\n    {answer}\n")
