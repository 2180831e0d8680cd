"""Matching words: the stored tokens point at the right characters, whatever the script."""

import io
import re

import numpy as np
import pytest
from rich.console import Console
from rich.text import Text
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from ernie_search.encoder import Pieces
from ernie_search.runtime.tokenizer import pieces_of
from ernie_search.search import Searcher, WordMatch, mark, mark_hit, matching_words
from ernie_search.search.highlight import best_matches, fallback_words, token_spans
from ernie_search.types import Hit
from stub_encoder import StubEncoder


def matched(question: str, text: str, longest: int = 12) -> dict[str, float]:
    stub = StubEncoder(longest=longest)
    asked, stored = stub.encode_joint([question], "query"), stub.encode_joint([text], "passage")
    matches = matching_words(
        stub,
        question,
        text,
        asked.tokens[0],
        stored.tokens[0].astype(np.float16),
        stored.token_ids[0],
    )
    assert [m.start for m in matches] == sorted(m.start for m in matches)
    return {text[match.start : match.stop]: match.strength for match in matches}


class Reader:
    """As much of an encoder as places of tokens need: a real tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def pieces(self, text: str) -> Pieces:
        return pieces_of(self.tokenizer, text)


def wordpiece() -> Reader:
    """A real tokenizer over a vocabulary written here."""
    words = ["[UNK]", "token", "##izer", "##s", "cut", "東", "京", ".", "the"]
    inner = Tokenizer(models.WordPiece({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return Reader(inner)


def test_equal_words_match_fully():
    found = matched("who wrote Hamlet ?", "the play Hamlet was what Shakespeare wrote .")
    assert found["Hamlet"] == pytest.approx(1, abs=1e-3)
    assert found["wrote"] == pytest.approx(1, abs=1e-3)
    assert "." not in found
    assert len(found) <= 4


def test_faint_matches_are_left_out():
    rows = np.eye(3, dtype=np.float32)
    stub, text = StubEncoder(), "strong middle faint"
    asked = np.stack([rows[0], 0.7 * rows[1], 0.5 * rows[2]])
    found = matching_words(stub, "x y z", text, asked, rows, stub.pieces(text).ids)
    assert [text[match.start : match.stop] for match in found] == ["strong", "middle"]


def test_what_was_cut_off_is_not_marked():
    assert "Hamlet" not in matched("Hamlet", "one two three Hamlet", longest=3)


def test_best_matches_is_the_argmax():
    random = np.random.default_rng(0)
    question, passage = random.standard_normal((4, 5)), random.standard_normal((7, 5))
    places, cosines = best_matches(question, passage)
    for q, place, cosine in zip(question, places, cosines, strict=True):
        products = [float(q @ p) for p in passage]
        assert place == products.index(max(products))
        assert cosine == pytest.approx(max(products), rel=1e-5)


def test_word_pieces_become_words():
    text = "The tokenizers cut 東京."
    ids = wordpiece().pieces(text).ids
    spans = token_spans(wordpiece(), text, ids)
    assert spans is not None
    assert [text[a:b] for a, b in spans] == ["The", *["tokenizers"] * 3, "cut", "東", "京", "."]
    some = token_spans(wordpiece(), text, [ids[2], ids[5]])  # a model that left out tokens
    assert some is not None
    assert [text[a:b] for a, b in some] == ["tokenizers", "東"]


def test_scripts_without_spaces_are_marked_by_token():
    text = "ก" * 100
    tokenizer = Tokenizer(models.WordPiece({"[UNK]": 0, "ก": 1, "##ก": 2}, unk_token="[UNK]"))
    spans = token_spans(Reader(tokenizer), text, [1, 2, 2])
    assert spans == [(0, 1), (1, 2), (2, 3)]


def test_tokens_of_another_text_fall_back_to_plain_words():
    assert token_spans(StubEncoder(), "some text", [1, 2]) is None
    rows = np.ones((2, 4), np.float32)
    found = matching_words(StubEncoder(), "Plain words of", "of plain text", rows, rows, [1, 2])
    assert found == [WordMatch(3, 8, 1.0)]
    assert matching_words(StubEncoder(), "none", "here", rows, rows[:0], []) == []


def test_fallback_words():
    assert fallback_words("Who wrote HAMLET", "hamlet? who knows") == [WordMatch(0, 6, 1.0)]


def test_brackets_are_text_and_not_markup():
    text = "see [bold]x[/bold] and [/red] [link=http://a]b[/link]"
    marked = mark(text, [WordMatch(4, 10, 0.9), WordMatch(18, 21, 0.1)])
    assert marked.plain == text
    out = io.StringIO()
    Console(file=out, width=200, color_system=None).print(marked)
    assert out.getvalue() == text + "\n"


def test_the_strongest_stands_out_without_colours_too():
    marked = mark("weak strong", [WordMatch(0, 4, 0.2), WordMatch(5, 11, 0.9)])
    styles = [span.style for span in marked.spans]
    assert not styles[0].bold
    assert styles[1].bold
    assert styles[1].underline
    assert mark("alone", [WordMatch(0, 5, 0.3)]).spans[0].style.bold
    assert mark("nothing", []).spans == []


def test_title_and_text_of_a_hit():
    hit = Hit("a", 1.0, "the text", "My Title")
    title, text = mark_hit(hit, [WordMatch(3, 8, 0.5), WordMatch(13, 17, 0.9)])
    assert (title.plain, text.plain) == ("My Title", "the text")
    assert [(span.start, span.end) for span in title.spans] == [(3, 8)]
    assert [(span.start, span.end) for span in text.spans] == [(4, 8)]
    title, text = mark_hit(Hit("a", 1.0, "the text"), [WordMatch(4, 8, 0.9)])
    assert (title.plain, text.plain) == ("", "the text")


def printed(marked: Text) -> str:
    """As a terminal gets it, a marked word in angle quotes."""
    out = io.StringIO()
    Console(file=out, width=200, color_system="standard", force_terminal=True).print(marked)
    return re.sub(r"\x1b\[[\d;]+m(.*?)\x1b\[0m", "«\\1»", out.getvalue().removesuffix("\n"))


HOSTILE = [
    ("The play\r\nHamlet is old", "The play \n«Hamlet» is old"),
    ("A\ttab, Hamlet\tand more", "A    tab, «Hamlet»    and more"),
    ("\x1b[31mred\x1b[0m Hamlet \x07", "\\x1b[31mred\\x1b[0m «Hamlet» \\x07"),
    ("\x08\x0b\x0c\x00 Hamlet", "\\x08  \\x00 «Hamlet»"),
    ("over\rHamlet wins", "over «Hamlet» wins"),
    ("\u202eab\u202c Hamlet", "\\u202eab\\u202c «Hamlet»"),
    ("🌾 茶 Hamlet", "🌾 茶 «Hamlet»"),
    ("Ham\x00let Hamlet", "Ham\\x00let «Hamlet»"),
]


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_what_is_shown_is_what_is_marked(text, shown):
    start = text.rindex("Hamlet")
    matches = [WordMatch(start, start + 6, 0.9)]
    assert printed(mark(text, matches)) == shown
    assert printed(mark_hit(Hit("a", 1.0, text), matches)[1]) == shown
    moved = [WordMatch(start + 3, start + 9, 0.9)]
    assert printed(mark_hit(Hit("a", 1.0, text, "\r\n"), moved)[1]) == shown
    flat = re.sub(r"[\r\n\t]", " ", text)
    assert printed(mark_hit(Hit("a", 1.0, "x", text), matches)[0]) == printed(mark(flat, matches))


def test_marks_may_overlap():
    marked = mark("a\x00bcdef", [WordMatch(1, 4, 0.9), WordMatch(3, 99, 0.9)])
    assert marked.plain == "a\\x00bcdef"
    assert [(span.start, span.end) for span in marked.spans] == [(1, 7), (6, 10)]


def test_a_searcher_marks_its_hits(tmp_path):
    from ernie_search.encoding import encode_collection
    from ernie_search.index import index_shards
    from ernie_search.types import Passage

    passages = [
        Passage("a#0", "Denmark has Hamlet", "Plays", parent="a"),
        Passage("b", "Verona has Romeo"),
    ]
    encode_collection(StubEncoder(), passages, tmp_path, data_fingerprint="d")
    searcher = Searcher(StubEncoder(), index_shards(tmp_path, "memory://"))
    hits = searcher.search("Hamlet Denmark", 2)
    assert [hit.id for hit in hits] == ["a", "b"]
    matches = searcher.matches("Hamlet Denmark", hits)
    assert ["Plays Denmark has Hamlet"[m.start : m.stop] for m in matches[0]] == ["Denmark", "Hamlet"]
    assert searcher.matches("x", []) == []
