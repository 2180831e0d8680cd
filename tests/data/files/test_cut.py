"""Documents as passages: whole paragraphs under one heading, of at most so many words."""

from ernie_search.data.chunking import units
from ernie_search.data.files.cut import cut, length_of
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
    assert pieces(Block(text, line=10)) == [
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
    for words, lines in ((8, [5, 8]), (4, [5, 6, 8, 9, 10])):
        found = pieces(Block(code, line=5, code=True), words=words)
        assert [line for _, line in found] == lines
        assert "".join(text for text, _ in found).replace("\n", "") == code.replace("\n", "")


def test_what_makes_many_tokens_counts_as_more_words():
    assert length_of("plain words, as they come") == 5
    assert length_of("x.y(z=[1,2]);" * 2) > 10
    assert length_of("https://example.org/a/b?c=1&d=2") > 10
    assert len(pieces(Block("a.b " * 12, line=1), words=12)) == 3


def test_no_word_is_lost_and_no_passage_too_long():
    text = "\n\n".join(f"## H{n}\n" + " ".join(f"w{n}x{m}." for m in range(n * 7)) for n in range(1, 20))
    document, _ = parse("a.md", text.encode())
    found = list(cut(document, 25))
    assert all(len(units(one.text)) <= 25 for one in found)
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
