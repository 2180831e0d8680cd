"""Measures on hand-worked runs, and against ir_measures itself on random ones."""

import math

import numpy as np
import pytest

from ernie_search.errors import EvaluationError
from ernie_search.evaluation.measures import DEFAULT_MEASURES, evaluate_run, parse_measure
from ernie_search.types import Qrels, Run

ir_measures = pytest.importorskip("ir_measures", reason="ir_measures, the reference, is not installed")

QRELS: Qrels = {
    "q1": {"a": 1},
    "q2": {"a": 2, "b": 1, "c": 0},
    "q3": {"d": 1, "e": 1},  # not in the run
}
RUN: Run = {
    "q2": {"c": 9.0, "b": 8.0, "a": 7.0},
    "q1": {"x": 3.0, "y": 2.0, "a": 1.0},
    "q9": {"a": 1.0},  # not judged
}


def test_hand_worked() -> None:
    measured = evaluate_run(QRELS, RUN)
    assert measured.query_ids == ("q1", "q2", "q3")
    assert list(measured.values) == list(DEFAULT_MEASURES)
    assert measured.of("MRR@10") == pytest.approx([1 / 3, 1 / 2, 0])
    assert measured.of("recall@1") == pytest.approx([0, 0, 0])
    assert measured.of("recall@5") == pytest.approx([1, 1, 0])
    gained = 1 / math.log2(3) + 2 / math.log2(4)
    ideal = 2 / math.log2(2) + 1 / math.log2(3)
    assert measured.of("nDCG@10") == pytest.approx([1 / math.log2(4), gained / ideal, 0])
    assert measured.mean("MRR@10") == pytest.approx((1 / 3 + 1 / 2) / 3)
    assert (measured.missing, measured.unjudged, measured.without_relevant) == (1, 1, 0)


def test_cutoffs() -> None:
    run: Run = {"q": {f"p{rank:04d}": -float(rank) for rank in range(1200)}}
    for rank, (mrr, recalls) in {
        0: (1.0, [1, 1, 1, 1, 1, 1, 1]),
        4: (0.2, [0, 1, 1, 1, 1, 1, 1]),
        9: (0.1, [0, 0, 1, 1, 1, 1, 1]),
        10: (0.0, [0, 0, 0, 1, 1, 1, 1]),
        99: (0.0, [0, 0, 0, 0, 0, 1, 1]),
        999: (0.0, [0, 0, 0, 0, 0, 0, 1]),
        1000: (0.0, [0, 0, 0, 0, 0, 0, 0]),
    }.items():
        measured = evaluate_run({"q": {f"p{rank:04d}": 1}}, run)
        assert measured.mean("MRR@10") == pytest.approx(mrr)
        assert [measured.mean(name) for name in DEFAULT_MEASURES[2:]] == recalls


def test_equals_ir_measures_where_nothing_ties() -> None:
    generator = np.random.default_rng(0)
    qrels: Qrels = {}
    run: Run = {}
    for number in range(50):
        passages = [f"p{i}" for i in generator.permutation(300)]
        qrels[f"q{number}"] = {p: int(generator.integers(0, 4)) for p in passages[:8]} | {passages[0]: 1}
        run[f"q{number}"] = {
            p: float(s) for p, s in zip(passages[:200], generator.permutation(200), strict=True)
        }
    theirs = {
        "MRR@10": ir_measures.RR @ 10,
        "nDCG@10": ir_measures.nDCG @ 10,
        **{f"recall@{k}": ir_measures.R @ k for k in (1, 5, 10, 20, 50, 100, 1000)},
    }
    measured = evaluate_run(qrels, run)
    for metric in ir_measures.iter_calc(list(theirs.values()), qrels, run):
        name = next(n for n, m in theirs.items() if m == metric.measure)
        value = measured.of(name)[measured.query_ids.index(metric.query_id)]
        assert value == pytest.approx(metric.value, abs=1e-12)


def test_equal_scores_are_ranked_by_id_in_every_measure() -> None:
    run: Run = {"q": {"b": 1.0, "a": 1.0}}
    first = evaluate_run({"q": {"a": 1}}, run)
    second = evaluate_run({"q": {"b": 1}}, run)
    for name in ("MRR@10", "nDCG@10", "recall@1"):
        assert first.mean(name) == pytest.approx(1.0)
    assert second.mean("MRR@10") == pytest.approx(1 / 2)
    assert second.mean("nDCG@10") == pytest.approx(1 / math.log2(3))
    assert second.mean("recall@1") == 0
    # a difference that 32-bit floats cannot hold still ranks
    close: Run = {"q": {"b": 1.0 + 1e-12, "a": 1.0}}
    assert evaluate_run({"q": {"b": 1}}, close).mean("recall@1") == pytest.approx(1.0)


def test_mrr_counts_every_grade_from_one() -> None:
    run: Run = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}
    assert evaluate_run({"q": {"b": 1, "c": 3}}, run).mean("MRR@10") == pytest.approx(1 / 2)


def test_odd_judgements_count_zero() -> None:
    qrels: Qrels = {"none": {"a": 0}, "empty": {}, "ok": {"a": 1, "b": -2}}
    run: Run = {"none": {"a": 1.0}, "empty": {"a": 1.0}, "ok": {"b": 2.0, "a": 1.0}}
    measured = evaluate_run(qrels, run)
    assert measured.query_ids == ("empty", "none", "ok")
    assert measured.of("MRR@10") == pytest.approx([0, 0, 1 / 2])
    assert measured.of("nDCG@10") == pytest.approx([0, 0, 1 / math.log2(3)])
    assert measured.without_relevant == 2


def test_question_with_an_empty_list_counts_zero_and_as_missing() -> None:
    measured = evaluate_run({"q1": {"a": 1}, "q2": {"a": 1}}, {"q1": {"a": 1.0}, "q2": {}})
    assert measured.of("MRR@10") == pytest.approx([1, 0])
    assert measured.missing == 1
    assert evaluate_run({"q1": {"a": 1}}, {}).mean("MRR@10") == 0


def test_inputs_are_left_as_they_were() -> None:
    qrels: Qrels = {"q": {"a": 1, "b": -1}}
    run: Run = {"q": {"a": 0.5, "b": 0.5}}
    evaluate_run(qrels, run)
    assert qrels == {"q": {"a": 1, "b": -1}}
    assert run == {"q": {"a": 0.5, "b": 0.5}}


def test_other_measures_of_ir_measures_pass_through() -> None:
    measured = evaluate_run(QRELS, RUN, ["AP@100", "P@1", "MRR@3", "RR@3"])
    assert measured.of("AP@100")[0] == pytest.approx(1 / 3)
    assert (measured.of("MRR@3") == measured.of("RR@3")).all()


@pytest.mark.parametrize("name", ["recal@10", "MRR@0", "nDCG@x", "recall", "", "R", "P", "os.getcwd()"])
def test_unknown_measures_are_refused(name: str) -> None:
    with pytest.raises(
        EvaluationError, match=r"is unknown|not installed|cutoff of at least 1|needs a cutoff"
    ):
        parse_measure(name)


@pytest.mark.parametrize(
    "name",
    ["P@99999999999999999999", "RR(rel=9999999999)", "R(rel=0)@10"],
)
def test_what_a_measures_tool_raises_is_one_line_with_its_name(name: str) -> None:
    qrels = {"q1": {"a": 5000, "b": 1}}
    with pytest.raises(EvaluationError, match=r"measure .*: its tool fails on these judgements") as caught:
        evaluate_run(qrels, {"q1": {"a": 1.0}}, ["MRR@10", name])
    assert repr(name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["ERR@10", "nDCG(dcg='exp-log2')@10"])
def test_grades_too_high_for_gdeval_are_refused_before_it_says_so(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert evaluate_run({"q1": {"a": 4}}, {"q1": {"a": 1.0}}, [name]).of(name)[0] > 0.9
    with pytest.raises(EvaluationError) as caught:
        evaluate_run({"q1": {"a": 1, "b": 5}}, {"q1": {"a": 1.0}}, ["MRR@10", name])
    assert f"passage 'b' has grade 5 for query 'q1', and {name!r} takes grades up to 4" in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("raised", [RuntimeError("no\nluck" * 100), KeyError("P_5"), OSError(2, "gone")])
def test_whatever_a_tool_raises(monkeypatch: pytest.MonkeyPatch, raised: Exception) -> None:
    def fail(measures: object, *others: object) -> None:
        raise raised

    monkeypatch.setattr("ir_measures.iter_calc", fail)
    with pytest.raises(EvaluationError, match=r"measure 'RR@3': its tool fails .* choose another") as caught:
        evaluate_run(QRELS, RUN, ["RR@3", "P@3"])
    assert "\n" not in str(caught.value)


def test_tools_that_read_only_numbers_as_ids_get_them() -> None:
    measured = evaluate_run({"one-a": {"a": 2, "b": 0}, "two": {"c": 1}}, {"one-a": {"a": 1.0}}, ["ERR@10"])
    assert measured.query_ids == ("one-a", "two")
    assert measured.of("ERR@10").tolist() == [pytest.approx(3 / 16, abs=1e-4), 0.0]


@pytest.mark.parametrize("name", ["(" * 3000, "P@" + "9" * 5000, "x" * 5000, "P(" + "rel=" * 2000])
def test_a_long_name_is_cut(name: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        parse_measure(name)
    assert len(str(caught.value)) < 300


def test_near_names_are_proposed() -> None:
    with pytest.raises(EvaluationError, match=r"did you mean 'MRR@10'\?"):
        parse_measure("mrr@10")
    with pytest.raises(EvaluationError, match=r"'recall@2' was not measured; did you mean 'recall@"):
        evaluate_run(QRELS, RUN).mean("recall@2")


@pytest.mark.parametrize(
    ("qrels", "run", "measures", "message"),
    [
        (QRELS, {"q1": {"a": float("nan")}}, DEFAULT_MEASURES, "query 'q1', passage 'a': the score is NaN"),
        (QRELS, {"other": {"a": 1.0}}, DEFAULT_MEASURES, "none of the run's 1 questions is judged"),
        ({"q": {"a": 0}}, {"q": {"a": 1.0}}, DEFAULT_MEASURES, "has a relevant passage"),
        ({}, {}, DEFAULT_MEASURES, "none of the 0 judged questions"),
        (QRELS, RUN, (), "no measure was asked for"),
        ({"q1": {"a": 2**31 - 1}}, RUN, DEFAULT_MEASURES, "passage 'a' has grade 2147483647 for query 'q1'"),
    ],
)
def test_bad_input_is_refused(qrels: Qrels, run: Run, measures: tuple[str, ...], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        evaluate_run(qrels, run, measures)


def test_interval_holds_the_mean() -> None:
    measured = evaluate_run(QRELS, RUN)
    low, high = measured.interval("MRR@10")
    assert 0 <= low <= measured.mean("MRR@10") <= high <= 0.5


def test_map_and_success() -> None:
    run: Run = {"q": {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}}
    measured = evaluate_run({"q": {"b": 1, "d": 2, "x": 1}}, run, ["MAP", "MAP@2", "success@1", "success@2"])
    assert measured.mean("MAP") == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert measured.mean("MAP@2") == pytest.approx(1 / 2 / 3)
    assert [measured.mean("success@1"), measured.mean("success@2")] == [0, 1]


def test_grades_from_two() -> None:
    run: Run = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}
    qrels: Qrels = {"q": {"a": 1, "b": 2, "c": 3}}
    names = ["MRR@10", "MRR(rel=2)@10", "recall(rel=2)@2", "MAP(rel=3)", "success(rel=2)@1"]
    measured = evaluate_run(qrels, run, names)
    assert [measured.mean(name) for name in names] == pytest.approx([1, 1 / 2, 1 / 2, 1 / 3, 0])
    with pytest.raises(EvaluationError, match="gain is the grade itself"):
        parse_measure("nDCG(rel=2)@10")


def test_a_cut_list_gives_the_same_shallow_measures() -> None:
    generator = np.random.default_rng(1)
    run: Run = {f"q{i}": {f"p{j}": float(s) for j, s in enumerate(generator.random(400))} for i in range(20)}
    qrels: Qrels = {
        query: {f"p{j}": int(generator.integers(0, 3)) for j in range(0, 400, 9)} | {"p1": 1} for query in run
    }
    theirs = {
        "MRR@10": "RR@10",
        "MRR(rel=2)@10": "RR(rel=2)@10",
        "nDCG@10": "nDCG@10",
        "nDCG": "nDCG",
        "recall@100": "R@100",
        "recall(rel=2)@200": "R(rel=2)@200",
        "success@5": "Success@5",
        "MAP@100": "AP@100",
        "MAP(rel=2)": "AP(rel=2)",
        "P@5": "P@5",
        "P(judged_only=True)@5": "P(judged_only=True)@5",
    }
    together = evaluate_run(qrels, run, list(theirs))
    for name, their_name in theirs.items():
        whole = dict.fromkeys(run, 0.0) | {
            metric.query_id: metric.value
            for metric in ir_measures.iter_calc([ir_measures.parse_measure(their_name)], qrels, run)
        }
        assert together.of(name) == pytest.approx([whole[query] for query in together.query_ids], abs=1e-12)
