"""The real sets, where they are: counts, and every script byte for byte."""

import gzip
import json
import re
from pathlib import Path

import pytest

from ernie_search.data import chunk_passages, inspect_collection, open_collection, validate, write_beir

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the sets of ../shared/data are not here")


@needs_data
@pytest.mark.slow
def test_squad_counts():
    squad = open_collection(str(SHARED / "squad"))
    info = inspect_collection(squad)[1]
    assert info.passages == 20_958
    assert info.queries == {"train": 87_423, "dev": 1_376, "test": 9_158}
    assert set(info.positives.values()) == {1.0}
    validate(squad)


@needs_data
def test_pubmedqa():
    pubmedqa = open_collection(f"beir:{SHARED / 'pubmedqa'}")
    validate(pubmedqa)
    assert pubmedqa.splits == ["train", "dev", "test"]
    assert len(pubmedqa.queries("test")) == 500


def pieces(path):
    """Each line's text as the bytes that stand in the file, without a JSON parser."""
    with gzip.open(path) as lines:
        for line in lines:
            yield re.search(rb'"text": "((?:[^"\\]|\\.)*)"', line)[1]


@needs_data
def test_xquad_survives_byte_for_byte(tmp_path):
    xquad = open_collection(str(SHARED / "xquad"))
    validate(xquad)
    passages = list(xquad.passages())
    assert len({passage.fields["language"] for passage in passages}) == 12
    for passage, raw in zip(passages, pieces(SHARED / "xquad" / "corpus.jsonl.gz"), strict=True):
        assert json.dumps(passage.text, ensure_ascii=False).encode()[1:-1] == raw
    copy = write_beir(xquad, tmp_path / "copy")
    assert list(copy.passages()) == passages
    assert copy.queries("test") == xquad.queries("test")
    assert copy.qrels("test-to-english") == xquad.qrels("test-to-english")


@needs_data
def test_xquad_chunks_are_slices():
    documents = {p.id: p for p in open_collection(str(SHARED / "xquad")).passages()}
    cut = set()
    for chunk in chunk_passages(documents.values(), 60, 20):
        document = documents[chunk.parent]
        start = chunk.start
        assert document.text[start : start + len(chunk.text)] == chunk.text
        if chunk.id != document.id:
            cut.add(document.fields["language"])
    assert len(cut) == 12
