"""Weights found on a dev split: by brute force, with questions left out, kept with the index."""

import json

import numpy as np
import pytest

from ernie_search.encoding import encode_collection
from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index import index_shards, open_index, passage_batch
from ernie_search.search import Fusion, Searcher, Tuned, read_tuned, reset_tuned, tune_weights, write_tuned
from ernie_search.search.fusion import Staged
from ernie_search.search.tuning import FOLDS, TUNED_FILE, _grid
from ernie_search.types import Passage, Query
from stub_encoder import StubEncoder, numbered_passages

PASSAGES = numbered_passages(80)
WEIGHTS = {"dense": 0.25, "late": 1.0, "bm25": 0.5}
TUNED = Tuned(Fusion("absolute", WEIGHTS), "idf", {"metric": "MRR@10"})


def candidates_of(count: int, seed: int) -> dict[str, Staged]:
    random = np.random.default_rng(seed)
    ids = [f"p{n:02}" for n in range(12)]
    return {
        f"q{n:02}": Staged(
            ids, ids, np.zeros(12), {name: random.random(12) for name in ("dense", "bm25", "late")}
        )
        for n in range(count)
    }


def reciprocal_first(run) -> np.ndarray:
    """MRR where p03 is right, question by question."""
    return np.array([1 / (1 + list(run[query]).index("p03")) for query in sorted(run)])


def values_of(candidates: dict[str, Staged], weights: dict[str, float]) -> np.ndarray:
    found = []
    for query in sorted(candidates):
        one = candidates[query]
        sums = {
            key: sum(weights[name] * one.stages[name][row] for name in weights)
            for row, key in enumerate(one.ids)
        }
        found.append(1 / (1 + sorted(sums, key=lambda key: (-sums[key], key)).index("p03")))
    return np.array(found)


def test_it_is_the_best_of_all_that_are_tried():
    candidates = candidates_of(23, 1)
    found = tune_weights(candidates, reciprocal_first, "absolute", WEIGHTS)
    every = [WEIGHTS, *_grid("absolute", ["dense", "bm25", "late"])]
    values = [values_of(candidates, weights) for weights in every]
    assert found.best.mean() == pytest.approx(max(one.mean() for one in values))
    np.testing.assert_allclose(values_of(candidates, found.fusion.weights), found.best)
    np.testing.assert_allclose(found.default, values[0])
    for fold in range(FOLDS):  # by the weights that are best for the others
        inside = np.arange(23) % FOLDS == fold
        best = max(one[~inside].mean() for one in values)
        fitting = [one[inside] for one in values if one[~inside].mean() >= best - 1e-12]
        assert any(np.allclose(found.left_out[inside], one) for one in fitting)


def test_chance_is_no_gain():
    gains = [
        tune_weights(candidates_of(20, seed), reciprocal_first, "absolute", WEIGHTS) for seed in range(8)
    ]
    assert all(one.best.mean() > one.default.mean() for one in gains)  # as it flatters
    assert abs(np.mean([one.gain for one in gains])) < 0.06


def test_what_tells_nothing_leaves_the_default():
    same = {query: next(iter(candidates_of(1, 2).values())) for query in ("a", "b", "c")}
    found = tune_weights(same, lambda run: np.full(3, 0.5), "absolute", WEIGHTS)
    assert found.fusion.weights == {"dense": 0.25, "bm25": 0.5, "late": 1.0}
    assert found.gain == 0
    alone = tune_weights(same, lambda run: 0.5, "absolute", WEIGHTS)
    assert alone.left_out.tolist() == [0.5]


def test_documents_count_by_their_best_piece():
    staged = Staged(["d", "e", "d"], ["d#0", "e#0", "d#1"], np.zeros(3), {})
    staged.stages.update({"dense": np.array([0.1, 0.5, 0.9]), "bm25": np.array([0.0, 0.1, 0.0])})
    runs = []
    tune_weights({"q": staged}, lambda run: runs.append(run) or 0.0, "absolute", {"dense": 1.0, "bm25": 0.0})
    assert list(runs[0]["q"].items()) == [("d", 0.9), ("e", 0.5)]


@pytest.fixture
def index(tmp_path):
    encode_collection(StubEncoder(), PASSAGES, tmp_path / "shards", data_fingerprint="d")
    index_shards(tmp_path / "shards", tmp_path / "index").close()
    return tmp_path / "index"


def test_it_is_kept_used_and_removed(index):
    model, question = StubEncoder(), "w1 w8 w3"
    usual = Searcher.open(index, model)
    before = usual.search(question)
    path = write_tuned(usual.index, TUNED)
    assert path == index / TUNED_FILE
    after = Searcher.open(index, model)
    assert after.tuned == TUNED
    hits = after.search(question)
    assert hits == usual.search(question, fusion=TUNED.fusion, token_weights="idf")
    assert [hit.score for hit in hits] != [hit.score for hit in before]
    assert after.search(question, fusion=Fusion(), token_weights="root") == before  # the defaults of joint
    assert Searcher(model, after.index, tuned=False).search(question) == before
    assert reset_tuned(index)
    assert not reset_tuned(index)
    assert Searcher.open(index, model).search(question) == before


def test_it_survives_commits_and_is_no_damage(index):
    model = StubEncoder()
    with open_index(index) as opened:
        write_tuned(opened, TUNED)
    new = [Passage("new", "w1 w2 w3")]
    with open_index(index, mode="w") as opened:
        opened.upsert(passage_batch(new, model.encode_joint(["w1 w2 w3"], "passage"), model))
        opened.commit()
        opened.optimize()
    with open_index(index) as opened:
        assert opened.damage() == []
        opened.check_files()
        assert read_tuned(opened) == TUNED
        assert opened.newest().folder == index


def test_another_models_weights_and_damaged_ones_are_refused(index):
    with open_index(index) as opened:
        path = write_tuned(opened, TUNED)
        whole = json.loads(path.read_text(encoding="utf-8"))
        for changed in (
            {"fusion": "absolute:dense=x"},
            {"format": 2},
            {"token_weights": "heavy"},
            {"fusion": None},
        ):
            path.write_text(json.dumps(whole | changed), encoding="utf-8")
            with pytest.raises(IndexStateError, match=r"fusion\.json: no weights.*tune INDEX --reset"):
                Searcher(StubEncoder(), opened)
        path.write_text("{", encoding="utf-8")
        with pytest.raises(IndexStateError, match="no weights that this version reads"):
            read_tuned(opened)
        path.write_text(json.dumps(whole | {"model_fingerprint": "beef"}), encoding="utf-8")
        with pytest.raises(IndexStateError, match="tuned for model beef, not f00d"):
            read_tuned(opened)


def test_an_index_in_memory_keeps_none(tmp_path):
    encode_collection(StubEncoder(), PASSAGES, tmp_path, data_fingerprint="d")
    opened = index_shards(tmp_path, "memory://")
    assert read_tuned(opened) is None
    with pytest.raises(SettingsError, match=r"--fusion absolute:dense=0\.25,late=1\.0,bm25=0\.5"):
        write_tuned(opened, TUNED)


def test_a_searcher_tunes_against_the_default_whatever_was_tuned_before(index):
    queries = [Query(f"q{n}", f"w{n} w{n + 7}") for n in range(12)]
    searcher = Searcher.open(index, StubEncoder())
    right = {one.id: searcher.index.bm25([one.text], 1)[0].ids[:1] for one in queries}

    def measure(run):
        return np.array([float(list(run[one.id])[:1] == right[one.id]) for one in queries])

    found = searcher.tune(queries, measure, candidates=20)
    assert found.best.mean() > found.default.mean()
    write_tuned(searcher.index, Tuned(found.fusion, found.token_weights))
    again = Searcher.open(index, StubEncoder()).tune(queries, measure, candidates=20)
    assert again.fusion == found.fusion
    np.testing.assert_array_equal(again.default, found.default)
    run = Searcher.open(index, StubEncoder()).run(queries, 40, candidates=20)
    np.testing.assert_allclose(measure(run), found.best)
