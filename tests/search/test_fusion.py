"""Fusion against sums written out, and tuning against every pair of weights."""

import math

import numpy as np
import pytest

from ernie_search.errors import DataError, SettingsError
from ernie_search.index import Ranking
from ernie_search.search import Fusion, tune_weights
from ernie_search.search.fusion import Staged, fuse, stretched, weighted


def ranking(**scores: float) -> Ranking:
    return Ranking(list(scores), np.float32(list(scores.values())))


DENSE = ranking(a=0.9, b=0.8, c=0.5)
BM25 = ranking(c=12.0, d=6.0, a=3.0)


def test_reciprocal_ranks_are_summed():
    found = fuse({"dense": DENSE, "bm25": BM25}, Fusion("rrf"))
    sums = {"a": 1 / 61 + 1 / 63, "b": 1 / 62, "c": 1 / 63 + 1 / 61, "d": 1 / 62}
    assert found.ids == ["a", "c", "b", "d"]  # equal ones by id
    np.testing.assert_allclose(found.scores, [sums[one] for one in found.ids], rtol=1e-6)
    assert found.stages_of(0) == pytest.approx({"dense": 0.9, "bm25": 3.0, "fused": sums["a"]}, rel=1e-6)
    assert set(found.stages_of(3)) == {"bm25", "fused"}


def test_weighted_sums_of_stretched_scores():
    found = fuse({"dense": DENSE, "bm25": BM25}, Fusion("weighted", {"dense": 1, "bm25": 3}))
    dense = {"a": 1.0, "b": 0.75, "c": 0.0}
    bm25 = {"c": 1.0, "d": 0.5, "a": 0.25}  # its floor is 0: nothing in common
    expected = {one: 0.25 * dense.get(one, 0) + 0.75 * bm25.get(one, 0) for one in "abcd"}
    assert dict(zip(found.ids, found.scores, strict=True)) == pytest.approx(expected, abs=1e-6)
    assert found.ids == sorted(expected, key=lambda one: (-expected[one], one))


def test_a_weight_of_all_is_that_ranking_alone():
    found = fuse({"dense": DENSE, "bm25": BM25}, Fusion("weighted", {"dense": 1.0}))
    assert found.ids[:2] == ["a", "b"]
    nothing = fuse({"dense": DENSE, "bm25": ranking()}, Fusion("rrf"))
    assert nothing.ids == ["a", "b", "c"]
    assert fuse({"dense": ranking(), "bm25": ranking()}, Fusion("weighted")).ids == []


def test_stretching():
    assert stretched("late", np.array([3.0, np.nan, 1.0, 2.0])).tolist() == [1, 0, 0, 0.5]
    assert stretched("late", np.array([2.0, 2.0])).tolist() == [1, 1]
    assert stretched("bm25", np.array([4.0, 2.0])).tolist() == [1, 0.5]
    assert stretched("bm25", np.array([np.nan])).tolist() == [0]
    assert weighted({"late": np.array([2.0, 1.0])}, {"dense": 1.0}).tolist() == [0, 0]


def staged(ids: list[str], **stages: list[float]) -> Staged:
    return Staged(ids, ids, np.zeros(len(ids)), {name: np.array(values) for name, values in stages.items()})


def test_tuning_finds_the_stage_that_knows():
    right = {f"q{n}": "x" for n in range(6)}
    candidates = {
        query: staged(["x", "y", "z"], dense=[0.1, 0.5, 0.9], bm25=[5.0, 1.0, 0.0], fused=[1, 2, 3])
        for query in right
    }

    def measure(run: dict[str, dict[str, float]]) -> float:
        return sum(next(iter(ranked)) == right[query] for query, ranked in run.items()) / len(run)

    # x ties with z at one half each and stands before it; with more for bm25 it wins. The nearest is taken.
    found = tune_weights(candidates, measure, "weighted", {"dense": 1.0})
    assert found.fusion == Fusion("weighted", {"dense": 0.5, "bm25": 0.5})
    assert (found.default.tolist(), found.best.tolist(), found.gain) == ([0.0], [1.0], 0.0)


def test_tuning_is_the_best_of_all_triples():
    random = np.random.default_rng(0)
    ids = [f"p{n}" for n in range(12)]
    candidates = {
        f"q{n}": staged(ids, dense=random.random(12), bm25=random.random(12), late=random.random(12))
        for n in range(9)
    }

    def measure(run: dict[str, dict[str, float]]) -> float:
        return float(np.mean([1 / (1 + list(ranked).index("p3")) for ranked in run.values()]))

    def value(weights: dict[str, float]) -> float:
        run = {}
        for query, one in candidates.items():
            scores = weighted(one.stages, weights)
            run[query] = {ids[row]: scores[row] for row in np.argsort(-scores, kind="stable")}
        return measure(run)

    found = tune_weights(candidates, measure, "weighted", {"dense": 0.5, "bm25": 0.5}).fusion.weights
    grid = [(a / 10, b / 10, (10 - a - b) / 10) for a in range(11) for b in range(11 - a)]
    every = {
        triple: value(dict(zip(("dense", "bm25", "late"), triple, strict=True)))
        for triple in grid
        if triple[0] + triple[1] > 0
    }
    assert value(found) == pytest.approx(max(every.values()))
    assert sum(found.values()) == pytest.approx(1)
    Fusion("weighted", found)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Fusion("rff"), SettingsError, "fusion 'rff': unknown; did you mean 'rrf'"),
        (lambda: Fusion("weighted", {"bm52": 1.0}), SettingsError, "did you mean 'bm25'"),
        (lambda: Fusion("weighted", {"dense": -1.0}), SettingsError, "dense is -1"),
        (lambda: Fusion("absolute", {"dense": 1e308}), SettingsError, "at most 1,000,000"),
        (lambda: Fusion("absolute", {"dense": math.nan}), SettingsError, "dense is nan"),
        (lambda: Fusion("weighted", {"late": 1.0}), SettingsError, "dense or bm25 must count"),
        (lambda: Fusion("absolute", {"late": 0.0}), SettingsError, "dense or bm25 or late must count"),
        (lambda: Fusion.parse("dense=x"), SettingsError, "'dense=x' is no weight"),
        (lambda: Fusion.parse("absolut:dense=1"), SettingsError, "did you mean 'absolute'"),
        (lambda: Fusion.parse("absolute:"), SettingsError, "'' is no weight"),
        (lambda: Fusion.parse("rrf:dense=1"), SettingsError, "take no weights"),
        (lambda: tune_weights({}, len, "absolute", {}), DataError, "0 questions"),
        (lambda: tune_weights({}, len, "rrf", {}), SettingsError, "have no weights to tune"),
    ],
)
def test_refusals(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_parsing():
    assert Fusion.parse("rrf") == Fusion("rrf")
    assert Fusion.parse("absolute") == Fusion()
    given = Fusion.parse("absolute:dense=0.5, late=1,bm25=0.2")
    assert (given.kind, dict(given.weights)) == ("absolute", {"dense": 0.5, "late": 1.0, "bm25": 0.2})
    for one in (Fusion(), Fusion("rrf"), given, Fusion("weighted", {"dense": 1 / 3, "late": 2})):
        assert Fusion.parse(str(one)) == one
    parsed = Fusion.parse("dense=0.3, bm25=0.3,late=0.4")
    assert (parsed.kind, dict(parsed.weights)) == ("weighted", {"dense": 0.3, "bm25": 0.3, "late": 0.4})
    assert parsed.with_late
    assert not Fusion.parse("dense=1").with_late
