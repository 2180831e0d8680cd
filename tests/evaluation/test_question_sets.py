"""Over which questions runs are compared; self-hits."""

import pytest

from ernie_search.cli.evidence import self_hits_note
from ernie_search.errors import EvaluationError
from ernie_search.evaluation.comparison import Missing, question_set
from ernie_search.evaluation.measures import drop_self_hits
from ernie_search.types import Run

A: Run = {"q1": {"a": 1.0}, "q2": {"a": 1.0}, "extra": {"a": 1.0}}
B: Run = {"q2": {"a": 1.0}, "q3": {"a": 1.0}, "q1": {}}
JUDGED = {"q1", "q2", "q3", "q4"}


def test_equal_sets_are_compared_over_all_judged_questions() -> None:
    found = question_set({"a": A, "b": {**A, "other": {"x": 1.0}}}, JUDGED)
    assert found.ids == ("q1", "q2", "q3", "q4")  # what no run has counts 0 for all
    assert found.left_out == 0
    assert found.notes() == [
        "a: 2 judged questions are not in the run and count 0",
        "b: 2 judged questions are not in the run and count 0",
    ]


def test_different_sets_are_refused_and_it_says_how_many_would_be_left() -> None:
    with pytest.raises(
        EvaluationError, match=r"the runs have different questions: a lacks 1 .*'q3'.* the 1 that all"
    ):
        question_set({"a": A, "b": B}, JUDGED)


def test_intersect_says_how_many_are_left() -> None:
    found = question_set({"a": A, "b": B}, JUDGED, "intersect")
    assert found.ids == ("q2",)
    assert found.notes() == ["compared over the 1 of 4 judged questions that every run has; 3 left out"]


def test_zero_counts_missing_questions() -> None:
    found = question_set({"a": A, "b": B}, JUDGED, "zero")
    assert found.ids == ("q1", "q2", "q3", "q4")
    assert found.filled == {"a": 2, "b": 2}


def test_nothing_left_is_refused() -> None:
    with pytest.raises(EvaluationError, match="no question is in all of a, b"):
        question_set({"a": {"q1": {"x": 1.0}}, "b": {"q2": {"x": 1.0}}}, JUDGED, "intersect")


def test_self_hits_are_dropped_but_for_judged_ones() -> None:
    run: Run = {"q1": {"q1": 9.0, "a": 1.0}, "q2": {"a": 1.0}, "q3": {"q3": 1.0}}
    kept, dropped = drop_self_hits(run, {"q3": {"q3": 1}, "q1": {"q1": 0}})
    assert kept == {"q1": {"a": 1.0}, "q2": {"a": 1.0}, "q3": {"q3": 1.0}}
    assert dropped == 1
    assert run["q1"] == {"q1": 9.0, "a": 1.0}
    assert "dropped for 1 questions" in self_hits_note("x", dropped)[0]
    assert self_hits_note("x", 0) == []


@pytest.mark.parametrize("missing", ["refuse", "intersect", "zero"])
def test_runs_of_another_split_are_refused(missing: Missing) -> None:
    with pytest.raises(
        EvaluationError, match=r"none of the runs' questions is judged \(their first is 'extra'"
    ):
        question_set({"a": A, "b": A}, {"dev1", "dev2"}, missing)
    empty: dict[str, Run] = {"a": {"q1": {}}, "b": {}}
    assert question_set(empty, {"q1"}, "zero").ids == ("q1",)  # nothing found is not another split
