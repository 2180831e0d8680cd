"""Passages of a small collection are read once and kept; of a large or faulty one they are read each time."""

import pickle
import sys
from pathlib import Path

import pytest

from ernie_search.data import BeirCollection, find_problems, inspect_collection, write_beir
from ernie_search.data.collection import HeldCollection, hold
from ernie_search.errors import DataError

sys.path.append(str(Path(__file__).parent.parent))

from tiny_training import collection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_beir(collection(), tmp_path / "crops")
    return tmp_path / "crops"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every reading of a corpus."""
    found: list[Path] = []
    original = BeirCollection.located_passages

    def located(self, *arguments):
        found.append(self.folder)
        return original(self, *arguments)

    monkeypatch.setattr(BeirCollection, "located_passages", located)
    return found


def test_it_is_the_collection_read_once(folder: Path, reads: list[Path]) -> None:
    plain, kept = BeirCollection(folder), hold(BeirCollection(folder))
    assert hold(kept) is kept
    assert find_problems(kept) == []
    for _ in range(3):
        assert list(kept.passages()) == list(collection().passages())
    assert len(reads) == 1
    assert kept.fingerprint == plain.fingerprint
    assert (kept.name, kept.source, kept.splits) == (plain.name, plain.source, plain.splits)
    assert kept.queries("dev") == plain.queries("dev")
    assert kept.qrels("train") == plain.qrels("train")
    assert inspect_collection(kept)[1] == inspect_collection(plain)[1]


def test_copies_read_anew(folder: Path, reads: list[Path]) -> None:
    kept = hold(BeirCollection(folder))
    assert len(list(kept.passages())) == 40
    data = pickle.dumps(kept)
    assert len(data) < 1000
    assert list(pickle.loads(data).passages()) == list(kept.passages())
    assert len(reads) == 2


def test_what_is_held_keeps_its_fingerprint(folder: Path) -> None:
    kept = hold(BeirCollection(folder))
    before = kept.fingerprint
    list(kept.passages())
    assert kept.fingerprint == before
    (folder / "corpus.jsonl").write_text('{"_id": "p0", "text": "other"}\n')
    assert kept.fingerprint == before
    assert len(list(kept.passages())) == 40
    assert BeirCollection(folder).fingerprint != before


def test_a_large_corpus_is_not_kept(folder: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ernie_search.data.collection.MOST_BYTES", 2000)
    kept = hold(BeirCollection(folder))
    for _ in range(2):
        assert len(list(kept.passages())) == 40
    assert len(reads) == 2


def test_a_reading_that_is_broken_off_is_not_kept(folder: Path, reads: list[Path]) -> None:
    kept = hold(BeirCollection(folder))
    assert next(kept.passages()).id == "p0"
    assert len(list(kept.passages())) == 40
    assert len(reads) == 2


def test_a_faulty_corpus_is_not_kept(folder: Path) -> None:
    lines = (folder / "corpus.jsonl").read_text().splitlines(keepends=True)
    (folder / "corpus.jsonl").write_text("".join([*lines[:3], "no JSON\n", *lines[3:]]))
    kept = HeldCollection(BeirCollection(folder))
    assert find_problems(kept)
    with pytest.raises(DataError, match=r"corpus\.jsonl:4"):
        list(kept.passages())
