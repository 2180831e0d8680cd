"""Runs side by side: pairs, corrected p values, effects, and where they are."""

import numpy as np
import pytest

from ernie_search.errors import EvaluationError
from ernie_search.evaluation.comparison import compare, compare_runs, gap_closed
from ernie_search.evaluation.effects import (
    answer_type,
    breakdown,
    by_length,
    by_rank,
    effects,
    first_ranks,
    lost,
    pair_findings,
    won,
)
from ernie_search.evaluation.measures import Measured, evaluate_run, relevant_from
from ernie_search.evaluation.significance import holm
from ernie_search.evaluation.table import comparison_json
from ernie_search.types import Passage, Qrels, Run


def example(questions: int = 40) -> tuple[Qrels, dict[str, Run]]:
    """Three runs: the relevant passage stands at a rank drawn by chance, better in later runs."""
    generator = np.random.default_rng(0)
    qrels: Qrels = {f"q{i:02d}": {"hit": 1} for i in range(questions)}
    runs: dict[str, Run] = {}
    for name, deepest in (("one", 12), ("two", 8), ("three", 3)):
        runs[name] = {}
        for query in qrels:
            order = [f"p{i}" for i in range(15)]
            order.insert(int(generator.integers(0, deepest)), "hit")
            runs[name][query] = {passage: -float(rank) for rank, passage in enumerate(order)}
    return qrels, runs


def test_pairs_against_the_first_with_holm_by_measure() -> None:
    qrels, runs = example()
    found = compare_runs(runs, ["MRR@10", "recall@5"], qrels=qrels)
    assert [(pair.name, pair.over) for pair in found.pairs_of("MRR@10")] == [("two", "one"), ("three", "one")]
    for measure in found.measures:
        pairs = found.pairs_of(measure)
        alone = [compare(found.measured(pair.name), found.measured("one"), measure).p for pair in pairs]
        assert [pair.found.p for pair in pairs] == alone
        assert [pair.p_holm for pair in pairs] == holm(alone)
    assert (
        found.measured("two").of("MRR@10").tolist() == evaluate_run(qrels, runs["two"]).of("MRR@10").tolist()
    )


def test_all_pairs() -> None:
    qrels, runs = example()
    found = compare_runs(runs, ["MRR@10"], qrels=qrels, all_pairs=True)
    names = [(pair.name, pair.over) for pair in found.pairs]
    assert names == [("two", "one"), ("three", "one"), ("three", "two")]
    plain = comparison_json(found)
    assert [one["p_holm"] for one in plain["pairs"]] == [pair.p_holm for pair in found.pairs]
    assert plain["questions"] == {"compared": 40, "judged": 40, "left_out": 0}


def test_answer_measures_beside_judged_ones_are_about_the_same_questions() -> None:
    qrels, runs = example(6)
    passages = [Passage("hit", "the Answer"), *(Passage(f"p{i}", "nothing") for i in range(15))]
    answers = {query: ["answer"] for query in list(qrels)[:4]} | {"elsewhere": ["x"]}
    found = compare_runs(
        runs, ["recall@5", "answer_recall@5"], qrels=qrels, answers=answers, passages=lambda: iter(passages)
    )
    assert found.questions.ids == ("q00", "q01", "q02", "q03")
    for system in found.systems:  # one passage has the answer, and it is the relevant one
        measured = system.measured
        assert measured.of("recall@5").tolist() == measured.of("answer_recall@5").tolist()
    only = compare_runs(
        runs, ["answer_recall@5"], answers=answers, passages=lambda: iter(passages), missing="zero"
    )
    assert "elsewhere" in only.questions.ids


def test_what_cannot_be_compared_is_refused() -> None:
    qrels, runs = example(4)
    runs["two"].pop("q01")
    with pytest.raises(EvaluationError, match="two lacks 1 that another has"):
        compare_runs(runs, ["MRR@10"], qrels=qrels)
    left = compare_runs(runs, ["MRR@10"], qrels=qrels, missing="intersect")
    assert left.questions.ids == ("q00", "q02", "q03")
    with pytest.raises(EvaluationError, match="needs answers"):
        compare_runs(runs, ["answer_recall@5"], qrels=qrels)
    with pytest.raises(EvaluationError, match="needs judgements"):
        compare_runs(runs, ["MRR@10"], answers={"q00": ["x"]})
    with pytest.raises(EvaluationError, match="at least one run and one measure"):
        compare_runs({}, ["MRR@10"], qrels=qrels)


def measured(values: dict[str, float]) -> Measured:
    return Measured(tuple(sorted(values)), {"m": np.array([values[key] for key in sorted(values)])})


def test_effects_won_and_lost() -> None:
    own, other = measured({"a": 1, "b": 0.5, "c": 0, "d": 1}), measured({"a": 1, "b": 0, "c": 1, "d": 0.5})
    found = effects(own, other, "m", {"b": 2}, {"b": None})
    assert [effect.query for effect in found] == ["b", "d", "a", "c"]
    assert [effect.query for effect in won(found, 3)] == ["b", "d"]
    assert [effect.query for effect in lost(found, 3)] == ["c"]
    assert (found[0].rank, found[0].other_rank) == (2, None)
    assert lost(found, 0) == won(found, 0) == []


def test_first_ranks() -> None:
    run: Run = {"q": {"a": 2.0, "b": 1.0}, "r": {"x": 1.0}}
    qrels: Qrels = {"q": {"a": 0, "b": 1}, "r": {"y": 1}, "s": {"z": 1}}
    assert first_ranks(run, qrels) == {"q": 2, "r": None, "s": None}
    assert first_ranks(run, {"q": {"a": 1, "b": 2}}, 2) == {"q": 2}
    assert [relevant_from(name) for name in ("MRR(rel=2)@10", "MRR@10", "answer_recall@5", "P@5")] == [
        2,
        1,
        1,
        1,
    ]


def test_shown_ranks_are_of_passages_that_the_measure_finds_relevant() -> None:
    qrels: Qrels = {"q": {"a": 1, "b": 2}}
    runs: dict[str, Run] = {"old": {"q": {"a": 2.0, "b": 1.0}}, "new": {"q": {"b": 2.0, "a": 1.0}}}
    found = compare_runs(runs, ["MRR(rel=2)@10"], qrels=qrels)
    (pair,) = pair_findings(found, runs, qrels=qrels)
    assert (pair.effects[0].other_rank, pair.effects[0].rank) == (2, 1)


def test_breakdown_sums_up_to_all() -> None:
    own, other = measured({"a": 1, "b": 0.5, "c": 0}), measured({"a": 0, "b": 0.5, "c": 1})
    kinds, order = by_length({"a": "who?", "b": "who was it then", "c": " ".join("x" * 20)})
    buckets = breakdown(effects(own, other, "m"), kinds, order)
    assert [(one.label, one.questions) for one in buckets] == [("up to 5 words", 2), ("16 words and more", 1)]
    assert (buckets[0].difference, buckets[0].wins, buckets[0].losses) == (0.5, 1, 0)
    assert buckets[1].low == buckets[1].high == -1
    ranks, _ = by_rank({"a": 1, "b": 7, "c": None, "d": 500})
    assert ranks == {"a": "rank 1", "b": "rank 6 to 10", "c": "not found", "d": "rank below 100"}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("1879", "date or year"),
        ("14 March 1879", "date or year"),
        ("March 14", "date or year"),
        ("42", "number"),
        ("3.5 million people", "number"),
        ("Marie Curie", "name"),
        ("University of Warsaw", "name"),
        ("oxide film", "short phrase"),
        ("it rises in the mountains", "long phrase"),
        ("?", "short phrase"),
    ],
)
def test_answer_types(answer: str, kind: str) -> None:
    assert answer_type(answer) == kind


def test_findings_of_each_pair() -> None:
    qrels, runs = example()
    found = compare_runs(runs, ["MRR@10"], qrels=qrels)
    texts = dict.fromkeys(qrels, "who is it?")
    first, second = pair_findings(
        found, runs, qrels=qrels, texts=texts, bm25=runs["one"], answers={"q00": ["Ada"]}
    )
    assert (first.name, second.name) == ("two", "three")
    assert len(first.effects) == 40
    assert list(first.where) == [
        "by the question's length",
        "by BM25's rank of the first relevant passage",
        "by the answer",
    ]
    assert sum(one.questions for one in first.where["by BM25's rank of the first relevant passage"]) == 40
    assert [one.questions for one in first.where["by the answer"]] == [1]


def test_gap_closed() -> None:
    alone, top = measured({"a": 0.2, "b": 0.4}), measured({"a": 0.8, "b": 0.8})
    assert gap_closed(alone, top, measured({"a": 0.5, "b": 0.6}), "m") == pytest.approx(0.5)
    assert gap_closed(alone, measured({"a": 0.2, "b": 0.45}), alone, "m") is None
