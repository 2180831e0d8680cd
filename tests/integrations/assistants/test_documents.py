"""Passages in their document's order, neighbours, pages: of files, of pieces, of passages alone."""

import pytest

from ernie_search.data.files.state import FOLDER
from ernie_search.errors import DataError
from ernie_search.index import MemoryIndex, make_spec, open_index, passage_batch
from ernie_search.integrations.documents import Documents, document_of, uri_of
from ernie_search.types import Passage
from stub_encoder import StubEncoder

TEXT = "one two three four five six seven eight"
PIECES = [
    Passage("doc#0", "one two three four", parent="doc", start=0),
    Passage("doc#1", "three four five six", parent="doc", start=8),
    Passage("doc#2", "five six seven eight", parent="doc", start=19),
    Passage("short", "all of it", parent="short", start=0),
    Passage("alone", "nobody beside me"),
]


@pytest.fixture
def pieces() -> Documents:
    model = StubEncoder()
    spec = make_spec(model_name=model.name, model_fingerprint=model.fingerprint, dim=model.token_dim)
    index = MemoryIndex(spec, None)
    encoding = model.encode_joint([one.full_text for one in PIECES], "passage", tokens=False)
    index.upsert(passage_batch(PIECES, encoding, model))
    return Documents(index)


def texts(page) -> list[str]:
    return [part.text for part in page.parts]


def test_a_file_s_passages_are_in_its_order(index):
    with open_index(index) as opened:
        documents = Documents(opened)
        assert documents.names == ["logs.md", "tea time.txt"]
        document, passage = documents.of("logs.md")
        assert passage is None
        expected = [f"Rotate the logs with care, number {number}." for number in range(6)]
        assert texts(documents.page(document, 1, 10_000)) == expected
        again, third = documents.of(document.ids[2])
        assert (again.name, again.ids, third.text) == ("logs.md", document.ids, expected[2])
        page = documents.neighbours(again, third, 1, 10_000)
        assert texts(page) == expected[1:4]
        assert [part.place for part in page.parts] == [2, 3, 4]
        first = opened.get(document.ids[:1])[0]
        assert texts(documents.neighbours(document, first, 2, 10_000)) == expected[:3]
        assert texts(documents.neighbours(again, third, 5, 80)) == expected[2:4]  # what fits
        assert texts(documents.neighbours(again, third, 5, 10)) == [expected[2][:10]]


def test_without_the_list_of_files_lines_give_the_order(index):
    for path in (index / FOLDER).iterdir():
        path.unlink()
    with open_index(index) as opened:
        documents = Documents(opened)
        assert documents.names == []
        document, _ = documents.of("logs.md")
        numbers = [text[-2] for text in texts(documents.page(document, 1, 10_000))]
        assert numbers == ["0", "1", "2", "3", "4", "5"]
        assert documents.of("tea time.txt")[0].name == "tea time.txt"


def test_pages_hold_whole_passages_and_are_all_of_it(index):
    with open_index(index) as opened:
        documents = Documents(opened)
        document, _ = documents.of("logs.md")
        pages, number, more = [], 1, True
        while more:
            page = documents.page(document, number, 80)
            assert sum(map(len, texts(page))) <= 80
            pages.append(texts(page))
            number, more = number + 1, page.more
        assert [len(one) for one in pages] == [2, 2, 2]
        with pytest.raises(DataError, match=r"page=4: 'logs\.md' has 3"):
            documents.page(document, 4, 80)


def test_pieces_are_joined_without_their_overlap(pieces):
    document, _ = pieces.of("doc")
    assert list(document.ids) == ["doc#0", "doc#1", "doc#2"]
    assert "".join(texts(pieces.page(document, 1, 1000))) == TEXT
    around, middle = pieces.of("doc#1")
    assert texts(pieces.neighbours(around, middle, 1, 1000)) == [one.text for one in PIECES[:3]]
    assert pieces.of("short")[0].ids == ["short"]


def test_a_long_passage_is_cut_into_pages(pieces):
    document, _ = pieces.of("alone")
    assert texts(pieces.page(document, 1, 7)) == ["nobody "]
    assert pieces.page(document, 1, 7).more
    last = pieces.page(document, 3, 7)
    assert (texts(last), last.more) == (["me"], False)


def test_a_passage_of_no_document_is_alone(pieces):
    document, passage = pieces.of("alone")
    assert document.ids == ["alone"]
    assert texts(pieces.neighbours(document, passage, 5, 1000)) == ["nobody beside me"]
    for name in ("", "nowhere", "../../etc/passwd", "doc#9", "a" * 10_000, "\ud800"):
        with pytest.raises(DataError, match="no passage or document"):
            pieces.of(name)


def test_names_and_addresses():
    assert document_of("a%20b.md#12", {"path": "a b.md"}, None) == "a b.md"
    assert document_of("x", {"path": "a b.md"}, None) == "x"
    assert document_of("doc#1", {}, "doc") == "doc"
    assert uri_of("docs", "a b#.md") == "ernie://docs/a%20b%23.md"
