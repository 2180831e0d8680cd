"""Chunks are verbatim slices that cover their document and overlap as asked."""

import random

import pytest

from ernie_search.data import chunk_passages
from ernie_search.data.chunking import units
from ernie_search.errors import SettingsError
from ernie_search.types import Passage


def test_cuts_by_words():
    text = "one two  three\nfour five six seven"
    chunks = list(chunk_passages([Passage("d", text, "T", {"k": 1})], words=3, overlap=1))
    assert [(c.id, c.text) for c in chunks] == [
        ("d#0", "one two  three"),
        ("d#1", "three\nfour five"),
        ("d#2", "five six seven"),
    ]
    assert all(c.title == "T" and c.fields["k"] == 1 and c.parent == "d" for c in chunks)
    assert [c.start for c in chunks] == [0, 9, 20]


def test_short_passages_keep_id_and_text():
    passage = Passage("d", " just three words ", fields={"k": 1})
    (chunk,) = chunk_passages([passage], words=3, overlap=1)
    assert (chunk.id, chunk.text) == ("d", passage.text)
    assert (chunk.fields, chunk.parent, chunk.start) == ({"k": 1}, "d", 0)
    assert passage.fields == {"k": 1}


def test_scripts_without_spaces_count_characters():
    text = "パンサーズの守備は308点を失っただけで、リーグでは六位だった。"
    chunks = list(chunk_passages([Passage("d", text)], words=10, overlap=2))
    assert len(chunks) > 2
    assert all(text[c.start :].startswith(c.text) for c in chunks)


def test_marks_stay_with_their_letter():
    text = "ที่นี่มีน้ำ"
    assert [text[a:b] for a, b in units(text)] == ["ที่", "นี่", "มี", "น้", "ำ"]


def test_text_without_spaces_in_other_scripts():
    chunks = list(chunk_passages([Passage("d", "A" * 1000)], words=4, overlap=0))
    assert [len(c.text) for c in chunks] == [256, 256, 256, 232]


@pytest.mark.parametrize("seed", range(200))
def test_chunks_cover_the_document(seed):
    rng = random.Random(seed)
    text = "".join(rng.choices("ab é\n\u3000中文字ที่นี่\u0301\u200d🙂", k=rng.randrange(60)))
    words = rng.randrange(1, 9)
    overlap = rng.randrange(words)
    chunks = list(chunk_passages([Passage("d", text)], words, overlap))
    spans = [(c.start, c.start + len(c.text)) for c in chunks]
    assert all(text[a:b] == c.text for (a, b), c in zip(spans, chunks, strict=True))
    covered = set().union(*(range(a, b) for a, b in spans))
    assert {i for i, c in enumerate(text) if not c.isspace()} <= covered
    assert all(len(units(c.text)) <= words for c in chunks)
    ends = [b for _, b in spans]
    assert ends == sorted(set(ends))  # each one adds something
    assert len({c.id for c in chunks}) == len(chunks)


@pytest.mark.parametrize(
    ("words", "overlap", "message"),
    [
        (0, 0, "words is 0"),
        (5, 5, "overlap is 5; give 0 to 4"),
        (5, -1, "overlap is -1"),
        (2.5, 0, "words is 2.5"),
    ],
)
def test_settings_are_checked_at_the_call(words, overlap, message):
    with pytest.raises(SettingsError, match=message):
        chunk_passages([], words, overlap)


def test_streams():
    def endless():
        while True:
            yield Passage("d", "a b c d")

    assert next(iter(chunk_passages(endless(), 2))).id == "d#0"
