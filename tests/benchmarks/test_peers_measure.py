"""Runs from written vectors are as defined; figures name the best peer, and what could not run."""

import subprocess

import numpy as np
import pytest
from benchmarks.peers import environments
from benchmarks.peers.environments import PeerError, python_of
from benchmarks.peers.inputs import known
from benchmarks.peers.measure import bytes_a_passage, dense_search, late_rerank, remove_vectors
from benchmarks.peers.result import Result
from benchmarks.peers.rows import MEASURES, Row
from benchmarks.peers.systems import SYSTEMS, chosen
from benchmarks.peers.table import comparisons, row_figures

from ernie_search.evaluation import Measured

PASSAGES = ["p0", "p1", "p2", "p3", "p4"]
QUESTIONS = ["q0", "q1", "q2"]


def write_tokens(path, matrices):
    with open(path.with_suffix(".f16"), "wb") as handle:
        handle.writelines(matrix.astype(np.float16).tobytes() for matrix in matrices)
    np.save(path.with_suffix(".npy"), np.array([matrices[0].shape[1], *(len(one) for one in matrices)]))


def test_single_vectors_search_by_their_product(tmp_path):
    random = np.random.default_rng(0)
    asked, stored = random.standard_normal((3, 4)), random.standard_normal((5, 4))
    np.save(tmp_path / "dense-query.npy", asked.astype(np.float32))
    np.save(tmp_path / "dense-passage.npy", stored.astype(np.float32))
    run = dense_search(tmp_path, QUESTIONS, PASSAGES)
    for row, query in enumerate(QUESTIONS):
        expected = {passage: float(asked[row] @ stored[place]) for place, passage in enumerate(PASSAGES)}
        assert run[query] == pytest.approx(expected, abs=1e-5)
    assert bytes_a_passage(tmp_path, "dense") == 4 * 4


def test_late_interaction_is_the_sum_of_the_best_over_the_first_stage_alone(tmp_path):
    random = np.random.default_rng(1)
    asked = [random.standard_normal((length, 8)).astype(np.float16) for length in (2, 1, 3)]
    stored = [random.standard_normal((length, 8)).astype(np.float16) for length in (4, 1, 2, 6, 3)]
    write_tokens(tmp_path / "tokens-query", asked)
    write_tokens(tmp_path / "tokens-passage", stored)
    first = {"q0": {"p3": 2.0, "p0": 1.0}, "q2": {"p1": 9.0, "p2": 8.0, "p4": 7.0}}
    run = late_rerank(tmp_path, QUESTIONS, PASSAGES, first)
    assert run.keys() == first.keys()
    for query, passages in first.items():
        matrix = asked[QUESTIONS.index(query)].astype(float)
        for passage in passages:
            tokens = stored[PASSAGES.index(passage)].astype(float)
            expected = sum(max(float(q @ t) for t in tokens) for q in matrix)
            assert run[query][passage] == pytest.approx(expected, abs=1e-4)
    assert bytes_a_passage(tmp_path, "late") == 2 * 8 * 16 / 5
    remove_vectors(tmp_path)
    assert list(tmp_path.iterdir()) == []


def result_of(system, values, seconds):
    """A row a seed, with the same measures for every reading and split."""
    rows = {}
    for seed, mean in enumerate(values):
        each = np.clip(np.full(40, mean) + np.linspace(-0.01, 0.01, 40), 0, 1)
        measured = Measured(tuple(f"q{n}" for n in range(40)), dict.fromkeys(MEASURES, each), 0)
        told = {"seconds": seconds, "peak_mb": 1.0, "versions": {}, "settings": {}}
        sizes = dict.fromkeys(system.readings, 8.0)
        rows[seed] = Row(told, sizes, {(one, "test"): measured for one in system.readings})
    taken = [seconds + 5.0, seconds]  # the other training had less of the machine
    return Result(variant=system.variants[0], rows=rows, seconds=taken)


def test_figures_are_over_the_best_peer_and_the_fastest_that_distils():
    systems = {system.name: system for system in SYSTEMS}
    found = {
        "ours": ([0.6, 0.5], 20.0),
        "st-mnrl": ([0.4, 0.4], 1.0),
        "st-kl": ([0.5, 0.4], 10.0),
        "pylate-contrastive": ([0.3, 0.3], 1.0),
    }
    results = {name: (systems[name], result_of(systems[name], *given)) for name, given in found.items()}
    results["flagembedding-m3"] = systems["flagembedding-m3"], Result(failed="no wheel")
    dense, late, seconds = comparisons(results, "test", {})
    assert (dense.figure, dense.peer, dense.value) == ("dense_over_best_peer", "st-kl", 0.1)
    assert dense.settings["p"] < 0.01
    assert dense.settings["over_each"]["st-mnrl"]["difference"] == 0.15
    assert (late.figure, late.peer, late.value) == ("late_over_best_peer", "pylate-contrastive", 0.25)
    assert (seconds.peer, seconds.ratio) == ("st-kl", 2.0)  # st-mnrl does not distil
    assert seconds.settings["all trainings"]["st-mnrl"] == [6, 1]
    (failed,) = row_figures(*results["flagembedding-m3"], "test", {})
    assert (failed.unit, failed.settings) == ("not run", {"failed": "no wheel"})


def test_unknown_rows_are_refused_and_ours_is_always_there():
    assert [system.name for system in chosen("st-kl")] == ["ours", "st-kl"]
    with pytest.raises(SystemExit, match="unknown st-none"):
        chosen("st-none")


def test_a_peer_that_cannot_be_installed_says_why(tmp_path, monkeypatch):
    def run(command, **options):
        failing = "pip" in command
        return subprocess.CompletedProcess(command, int(failing), "", "WARNING: x\nERROR: no such version\n")

    monkeypatch.setattr(environments.subprocess, "run", run)
    with pytest.raises(PeerError, match=r"installing pylate\.txt: ERROR: no such version"):
        python_of("pylate", tmp_path)


def test_a_passage_without_a_score_gets_the_lowest():
    assert known([2.0, float("nan"), -1.0]) == [2.0, -1.0, -1.0]
    assert known([float("nan")]) == [0.0]
