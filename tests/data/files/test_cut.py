"""Documents as passages: whole paragraphs under one heading, of at most so many words."""

import random

from ernie_search.data.files.cut import PART, PARTS_A_WORD, cut
from ernie_search.data.files.document import Block, Document
from ernie_search.data.files.reading import parse, to_passages


def pieces(*blocks: Block, words: int = 6) -> list[tuple[str, int | None]]:
    return [(one.text, one.line) for one in cut(Document("T", list(blocks)), words)]


def test_paragraphs_of_one_heading_are_joined_as_far_as_they_fit():
    assert pieces(Block("a b c", line=1), Block("d e", line=3), Block("f g", line=5)) == [
        ("a b c\n\nd e", 1),
        ("f g", 5),
    ]
    assert pieces(Block("a", ("H",), 1), Block("b", ("I",), 3)) == [("a", 1), ("b", 3)]
    assert pieces(Block("a", page=1), Block("b", page=2)) == [("a", None), ("b", None)]


def test_long_paragraphs_are_cut_between_sentences():
    text = "One two three four. Five six seven.\nEight nine ten. Eleven."
    assert pieces(Block(text, line=10), words=8) == [
        ("One two three four. ", 10),
        ("Five six seven.\nEight nine ten. ", 10),
        ("Eleven.", 11),
    ]


def test_a_sentence_without_an_end_and_a_script_without_spaces():
    assert [text.split() for text, _ in pieces(Block("a b c d e f g h", line=1))] == [
        ["a", "b", "c", "d", "e", "f"],
        ["g", "h"],
    ]
    assert "".join(text for text, _ in pieces(Block("一二三四五六七八九", line=1))) == "一二三四五六七八九"


def test_code_is_cut_at_blank_lines_then_lines():
    code = "def f():\n    a = 1\n\n    b = 2\n    c = 3\n    return a"
    found = pieces(Block(code, line=5, code=True), words=8)
    assert [line for _, line in found] == [5, 8]
    assert [line for _, line in pieces(Block(code, line=5, code=True), words=6)] == [5, 6, 9]
    assert "".join(text for text, _ in found).replace("\n", "") == code.replace("\n", "")


def test_no_word_is_lost_and_no_passage_too_long():
    text = "\n\n".join(f"## H{n}\n" + " ".join(f"w{n}x{m}." for m in range(n * 7)) for n in range(1, 20))
    document, _ = parse("a.md", text.encode())
    found = list(cut(document, 25))
    assert all(len(PART.findall(one.text)) <= 25 * PARTS_A_WORD for one in found)
    words = " ".join(one.text for one in found).split()
    assert words == [f"w{n}x{m}." for n in range(1, 20) for m in range(n * 7)]


def passages(text: str, name: str = "docs/a b.md"):
    return to_passages(name, parse(name, text.encode())[0], 50)


def test_ids_titles_and_fields():
    first, second = passages("# Guide\n\nIntro.\n\n## Logs\n\nKept.\n")
    assert (first.title, second.title) == ("Guide", "Guide > Logs")
    assert dict(second.fields) == {"path": "docs/a b.md", "heading": "Logs", "line": 7}
    assert first.id.startswith("docs/a%20b.md#")
    assert (first.parent, first.start) == (None, None)


def test_ids_outlive_edits_elsewhere_and_repeats_are_numbered():
    before = [one.id for one in passages("# A\n\n## B\n\nsame\n\n## C\n\nsame\n\n## D\n\nlast\n")]
    after = [one.id for one in passages("# A\n\nnew\n\n## B\n\nsame\n\n## C\n\nsame\n\n## D\n\nlast\n")]
    assert before[1] == f"{before[0]}-2"
    assert after[1:] == before


def test_titles_without_a_heading_are_the_file_name_and_odd_names_are_usable():
    (one,) = passages("text", "x/caf\udce9 #1%.txt")
    assert (one.title, one.fields["path"]) == ("caf%E9 #1%.txt", "x/caf%E9 #1%.txt")
    assert one.id.startswith("x/caf%E9%20%231%25.txt#")


def test_marks_digits_and_headings_count_so_that_a_small_encoder_reads_all_of_it():
    table = "\n".join(f"| {n} | {n * 7919} | `a_{n}.b()` |" for n in range(200))
    found = list(cut(Document("T" * 70, [Block(table, ("H" * 35,), 1)])))
    assert all(len(PART.findall(one.text)) <= 240 - 16 for one in found)
    assert "".join(one.text for one in found).replace("\n", "") == table.replace("\n", "")
    (first, *_) = cut(Document("T" * 9000, [Block("a " * 500, line=1)]))
    assert len(PART.findall(first.text)) == 120


def test_a_run_of_words_is_cut_between_them():
    found = list(cut(Document("T", [Block("internationalisation " * 200, line=1)]), 50))
    assert {word for one in found for word in one.text.split()} == {"internationalisation"}


class CountedText(str):
    """Text that knows how much of it was searched for line breaks."""

    searched = 0

    def count(self, part, start=0, end=None):
        stop = len(self) if end is None else end
        self.searched += stop - start
        return super().count(part, start, stop)


def test_lines_of_a_long_text_are_counted_once():
    text = CountedText("a log line that is long enough.\n" * 2000)
    found = pieces(Block(text, line=3, code=True), words=10)
    assert [line for _, line in found] == list(range(3, 2003))
    assert text.searched <= len(text)


def test_lines_are_those_that_the_pieces_stand_on():
    chance = random.Random(0)
    for code in (False, True) * 50:
        signs = chance.choices(
            ["a", "bb ccc", ". ", "\n", "\n\n", "\n \n", " ", "- ", "一。", "x" * 30], k=60
        )
        text, at = "a" + "".join(signs), 0
        for piece, line in pieces(Block(text, line=7, code=code), words=chance.choice([1, 3, 9])):
            at = text.index(piece, at)
            assert line == 7 + text.count("\n", 0, at)
            at += len(piece)
