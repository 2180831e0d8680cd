"""The verdict's figures are evaluation's own, over the files that the folder has."""

import random

import numpy as np
import pytest

from ernie_search.evaluation import compare, evaluate_run, read_qrels, read_run
from ernie_search.judge import Judging, verdict
from ernie_search.types import Query

MANY = [
    Query(f"q{n}", f"{word} {n}") for n, word in enumerate(["tea", "rice", "wheat", "water", "hills"] * 4)
]


@pytest.fixture
def marked(judged) -> Judging:
    judging = Judging(judged(queries=MANY))
    draw = random.Random(4)
    for number, one in enumerate(judging.questions):
        for passage in one.order:
            judging.mark(number, passage, draw.choice(["relevant", "partly", "not", "not", "skip"]))
        judging.prefer(number, draw.choice(["left", "left", "right", "equal", "skip"]))
    yield judging
    judging.close()


def test_figures_are_those_of_evaluation(marked):
    found = verdict(marked)
    qrels = read_qrels(marked.folder / "qrels" / "test.tsv")
    runs = [read_run(marked.folder / "runs" / name) for name in ("first.trec", "second.trec")]
    names = ("nDCG@3", "MRR@3")
    measured = [evaluate_run(qrels, run, names) for run in runs]
    for system, own in zip(found.systems, measured, strict=True):
        for name in names:
            np.testing.assert_array_equal(system.measured.of(name), own.of(name))
            assert system.measured.interval(name) == own.interval(name)
    assert [one for one in found.comparisons if one.measure in names] == [
        compare(*measured, name) for name in names
    ]
    assert found.graded == len(qrels)


def test_precision_is_that_of_ir_measures(marked):
    pytest.importorskip("ir_measures", reason="compares with ir_measures")
    qrels = read_qrels(marked.folder / "qrels" / "test.tsv")
    for system, name in zip(verdict(marked).systems, ("first.trec", "second.trec"), strict=True):
        theirs = evaluate_run(qrels, read_run(marked.folder / "runs" / name), ["P@3"])
        np.testing.assert_allclose(system.measured.of("P@3"), theirs.of("P@3"))


def test_preferences_are_of_the_systems_not_of_the_sides(marked):
    found = verdict(marked).preferences
    wins = [0, 0]
    for one, side in zip(marked.questions, marked.preferences, strict=True):
        if side in ("left", "right"):
            wins[one.swapped if side == "left" else not one.swapped] += 1
    assert [found.first, found.second] == wins
    assert found.equal == marked.preferences.count("equal")
    assert found.interval.low <= found.difference <= found.interval.high


def test_skipped_hits_are_counted_and_said(marked):
    found = verdict(marked)
    for system, name in enumerate(marked.names):
        expected = sum(
            marked.marks[number][hit.id] == "skip"
            for number, one in enumerate(marked.questions)
            if one.query.id in marked.qrels()
            for hit in one.lists[system]
        )
        assert found.skipped[name] == expected > 0
    text = " ".join(found.lines())
    assert "Only the pooled hits were judged" in text
    assert f"{marked.names[0]} {found.skipped[marked.names[0]]}" in text


def test_nothing_relevant_is_nothing_to_measure(judging):
    assert "0 of 3 questions are judged" in verdict(judging).lines()[0]
    for number, one in enumerate(judging.questions):
        for passage in one.order:
            judging.mark(number, passage, "not")
    found = verdict(judging)
    assert found.systems == ()
    assert "nothing to measure yet" in found.lines()[-1]


def test_one_system_alone(judged):
    judging = Judging(judged(modes=("dense",)))
    for number, one in enumerate(judging.questions):
        for rank, passage in enumerate(one.order):
            judging.mark(number, passage, "relevant" if rank == 1 else "not")
    assert judging.finished == 3
    found = verdict(judging)
    assert (found.comparisons, found.preferences) == ((), None)
    assert found.systems[0].measured.mean("MRR@3") == 0.5
    assert found.systems[0].measured.mean("P@3") == pytest.approx(1 / 3)
    judging.close()
