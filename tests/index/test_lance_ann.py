"""The approximate indexes, over codes whose best are scored again exactly, against brute force."""

import pytest

from ernie_search.index import And, Eq, In, Not, Or, Range, verify
from ernie_search.search import Searcher
from index_helpers import MODEL, batch, brute_force, new_index, passage, vectors

COUNT = 400
PASSAGES = [passage(number) for number in range(COUNT)]
KINDS = ("ivf_rq", "ivf_hnsw_sq", "ivf_sq")


@pytest.fixture(scope="module", params=KINDS)
def index(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ann") / "s"
    made = new_index("lance", folder, ann=request.param, exact_below=256, partitions=2, probes=2)
    made.upsert(batch(PASSAGES))
    made.optimize()
    yield made
    made.close()


def test_stats_say_so(index):
    stats = index.stats()
    assert stats.search != "exact"
    # At 16 dimensions one bit is too coarse: ivf_rq makes ivf_sq there (see test_ann_effort).
    assert (stats.dense_format, stats.unindexed) == ("int8", 0)


def test_candidates_are_scored_again(index):
    hits = 0
    for vector in vectors(20):
        (near,), (exact,) = index.nearest(vector, 10), index.nearest(vector, 10, exact=True)
        assert exact.ids == brute_force(PASSAGES, vector, 10)[0]
        scores = dict(zip(exact.ids, exact.scores.tolist(), strict=True))
        for one, score in zip(near.ids, near.scores.tolist(), strict=True):
            assert score == pytest.approx(scores.get(one, score), abs=1e-5)
        hits += len(set(near.ids) & set(exact.ids))
    assert hits >= (190 if index.spec.ann == "ivf_rq" else 196)  # of 16 dimensions one bit tells little


@pytest.mark.parametrize(
    "where",
    [
        Eq("lang", "de"),
        Eq("id", "p007"),
        In("year", (1991, 1993, 3000)),
        Range("price", above=2.5, at_most=10.25),
        Not(Eq("year", 2002)),
        And((Eq("lang", "en"), Not(Eq("open", True)))),
        Or((Eq("lang", "zh"), Range("price", below=1))),
        Eq("lang", "no such"),
        And((Eq("lang", "en"), Range("year", below=1995))),
    ],
    ids=str,
)
def test_filters_leave_as_many_as_meet_them(index, where):
    (vector,) = vectors(1, seed=5)
    (found,) = index.nearest(vector, 10, where=where)
    expected = brute_force(PASSAGES, vector, 10, where)[0]
    assert len(found.ids) == len(expected)
    assert len(set(found.ids) & set(expected)) >= len(expected) - 1


def test_k_above_the_corpus_gives_all(index):
    (found,) = index.nearest(vectors(1), 10 * COUNT)
    assert len(found.ids) == len(set(found.ids)) == COUNT
    (met,) = index.nearest(vectors(1), 10 * COUNT, where=Eq("lang", "de"))
    assert len(met.ids) == index.count(Eq("lang", "de"))


def test_alone_and_among_others(index):
    together = index.nearest(vectors(20), 7)
    for vector, ranking in zip(vectors(20), together, strict=True):
        (alone,) = index.nearest(vector, 7)
        assert (alone.ids, alone.scores.tolist()) == (ranking.ids, ranking.scores.tolist())


@pytest.mark.parametrize("mode", ["dense", "late", "hybrid"])
def test_every_mode_searches_it(index, mode):
    searcher = Searcher(MODEL, index)
    question = "word30 common group2"
    hits = searcher.search(question, 5, mode=mode, where=Eq("lang", "en"))
    vector = MODEL.encode_joint([question], "query").dense[0]
    nearest = brute_force(PASSAGES, vector, 1, Eq("lang", "en"))[0][0]
    assert hits[0].id == (nearest if mode == "dense" else "p030")
    assert {hit.fields["lang"] for hit in hits} == {"en"}


@pytest.mark.parametrize("kind", KINDS)
def test_equal_scores_and_changes_after_it_was_built(tmp_path, kind):
    made = new_index("lance", tmp_path / "s", ann=kind, exact_below=256, partitions=1, probes=1)
    copies = [passage(number, "same words here") for number in range(639, 599, -1)]
    made.upsert(batch([*PASSAGES[300:], *copies, *PASSAGES[:300]]))
    made.optimize()
    query = MODEL.encode_joint(["same words here"], "query").dense
    expected = sorted(one.id for one in copies if one.title == "")
    for k in (1, 4, 9):
        assert made.nearest(query, k)[0].ids == expected[:k]
    made.delete(expected[:3])
    made.upsert(batch([passage(700, "same words here")]))
    made.commit()
    assert made.stats().unindexed == 1
    ids = made.nearest(query, 40)[0].ids
    assert not set(expected[:3]) & set(ids)
    assert set(expected[3:]) | {"p700"} <= set(ids)
    made.optimize()
    assert made.stats().unindexed == 0
    assert verify(made, MODEL).problems == []
    made.close()
