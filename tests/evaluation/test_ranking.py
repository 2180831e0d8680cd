"""The order of passages, and why it is made before the tools see it."""

import pytest

from ernie_search.errors import EvaluationError
from ernie_search.evaluation.measures import ranked


def test_score_descends_and_equal_scores_ascend_by_id() -> None:
    assert ranked({"c": 1.0, "a": 1.0, "b": 2.0, "d": float("-inf")}, "q") == ["b", "a", "c", "d"]


def test_order_does_not_depend_on_insertion() -> None:
    scores = {"é": 1.0, "z": 1.0, "Z": 1.0, "10": 1.0, "9": 1.0}
    assert ranked(scores, "q") == ranked(dict(reversed(scores.items())), "q") == ["10", "9", "Z", "z", "é"]


def test_tools_break_ties_each_in_its_way() -> None:
    ir_measures = pytest.importorskip("ir_measures", reason="the extra 'measures' is not installed")
    """The premise: if this fails, the tools agree now and the docstring of ``ranked`` is out of date."""
    tied = {"q": {"a": 1.0, "b": 1.0}}
    assert ir_measures.pytrec_eval.calc_aggregate([ir_measures.P @ 1], {"q": {"b": 1}}, tied)[
        ir_measures.P @ 1
    ] == pytest.approx(1.0)
    assert ir_measures.msmarco.calc_aggregate([ir_measures.RR @ 1], {"q": {"b": 1}}, tied)[
        ir_measures.RR @ 1
    ] == pytest.approx(0.0)
    nearly = {"q": {"a": 1.0 + 1e-12, "b": 1.0}}
    assert (
        ir_measures.pytrec_eval.calc_aggregate([ir_measures.P @ 1], {"q": {"b": 1}}, nearly)[
            ir_measures.P @ 1
        ]
        == 1.0
    )


def test_nan_is_refused_by_name() -> None:
    with pytest.raises(EvaluationError, match="query 'q7', passage 'b': the score is NaN"):
        ranked({"a": 1.0, "b": float("nan")}, "q7")
