"""A run streamed from shards is that of the searcher which holds all vectors, ties and last bits included."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ernie_search.encoding import encode_collection
from ernie_search.errors import DataError, IndexStateError, SettingsError
from ernie_search.index import index_shards
from ernie_search.search import Searcher, over_shards
from ernie_search.search.over_shards import run_over_shards
from ernie_search.types import Query
from stub_encoder import StubEncoder, numbered_passages

TEXTS = numbered_passages(300)
# Every text three times, under ids whose order is not theirs: ties at every rank, and across shards.
PASSAGES = [
    replace(one, id=f"{(number * 7) % 900:03d}") for number, one in enumerate(itertools.chain(*[TEXTS] * 3))
]
QUERIES = [Query(f"q{n}", f"w{n} w{n + 7} w{n * 3 % 400}") for n in range(40)]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    encode_collection(StubEncoder(), PASSAGES, folder, data_fingerprint="d", shard_size=64, with_tokens=False)
    return folder


@pytest.mark.parametrize("k", [1, 2, 10, 100, 899, 900, 1000])
@pytest.mark.parametrize(("questions", "passages"), [(8192, 1 << 16), (16, 1), (7, 200)])
def test_it_is_the_run_of_a_searcher(shards, monkeypatch, k, questions, passages):
    monkeypatch.setattr(over_shards, "QUESTIONS", questions)
    monkeypatch.setattr(over_shards, "PASSAGES", passages)
    searcher = Searcher(StubEncoder(), index_shards(shards, "memory://"))
    place = {one.id: row for row, one in enumerate(PASSAGES)}  # an index breaks ties by id
    whole = searcher.run(QUERIES, len(PASSAGES), mode="dense", by_parent=False)
    expected = [
        (query, sorted(scores.items(), key=lambda item: (-item[1], place[item[0]]))[:k])
        for query, scores in whole.items()
    ]
    told: list[int] = []
    found = list(run_over_shards(StubEncoder(), shards, QUERIES, k, progress=told.append))
    assert [(query, list(scores.items())) for query, scores in found] == expected
    assert sum(told) == len(QUERIES)
    assert all(len(scores) == min(k, 900) for _, scores in found)


def test_what_is_held_is_a_chunk_and_not_the_corpus(shards, monkeypatch):
    monkeypatch.setattr(over_shards, "PASSAGES", 128)
    shown: list[int] = []
    plain = over_shards.best_rows

    def watched(dense, *arguments, **options):
        shown.append(len(dense))
        return plain(dense, *arguments, **options)

    monkeypatch.setattr(over_shards, "best_rows", watched)
    assert len(list(run_over_shards(StubEncoder(), shards, QUERIES, 5))) == 40
    assert shown == [128] * 7 + [4]


def test_what_cannot_be_searched_is_refused(shards, tmp_path):
    def run(queries=QUERIES, model=None, folder=shards, k=5):
        return list(run_over_shards(model or StubEncoder(), folder, queries, k))

    with pytest.raises(IndexStateError, match=r"encoded by model stub \(f00d\), not by other \(beef\)"):
        run(model=StubEncoder(name="other", fingerprint="beef"))
    with pytest.raises(DataError, match="question id 'q0' repeats"):
        run(queries=[*QUERIES, QUERIES[0]])
    with pytest.raises(DataError, match="question 'q' is empty"):
        run(queries=[Query("q", " ")])
    with pytest.raises(SettingsError, match="k=0"):
        run(k=0)
    with pytest.raises(IndexStateError):
        run(folder=tmp_path)
    assert run(queries=[]) == []


def test_floors_take_away_nothing_that_is_wanted():
    draw = np.random.default_rng(0)
    dense, asked = draw.standard_normal((500, 8), np.float32), draw.standard_normal((70, 8), np.float32)
    from ernie_search.index.exact import best_rows, longest

    whole = list(best_rows(dense, asked, 20, longest(dense)))
    floors = np.array([scores[11] for _, scores in whole])
    allowed = np.arange(0, 500, 2)
    for chosen in (None, allowed):
        whole = list(best_rows(dense, asked, 20, longest(dense), chosen))
        few = list(best_rows(dense, asked, 20, longest(dense), chosen, floors))
        for (rows, scores), (some, kept), floor in zip(whole, few, floors, strict=True):
            wanted = scores >= floor
            assert some[: wanted.sum()].tolist() == rows[wanted].tolist()
            assert kept[: wanted.sum()].tolist() == scores[wanted].tolist()
            assert len(some) < 20
