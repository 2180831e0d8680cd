"""Which questions are in one cluster, by passage and by field, and how that is shown."""

import numpy as np
import pytest

from ernie_search.errors import EvaluationError
from ernie_search.evaluation import Measured, question_clusters
from ernie_search.evaluation.clusters import Clusters
from ernie_search.evaluation.comparison import SystemResult, compare, compare_runs
from ernie_search.evaluation.significance import bootstrap_interval, holm, randomisation_test
from ernie_search.evaluation.table import comparison_json, results_json
from ernie_search.types import Passage, Qrels, Run

QRELS: Qrels = {
    "q1": {"a": 1},
    "q2": {"a": 2, "b": 1},
    "q3": {"b": 1, "c": 0},
    "q4": {"c": 1},
    "q5": {"d": 0},
    "q6": {"e": 1},
}
PASSAGES = [
    Passage("a", "x", "Tea", {"kind": "plant"}),
    Passage("b", "x", "Rice", {"kind": "plant"}),
    Passage("c", "x", "Tea", {"kind": ["stone", 1]}),
    Passage("d", "x", "Tea"),
    Passage("e", "x"),
    Passage("other", "x", "", {"only_here": 1}),
]


def grouped(by: str, passages: list[Passage] | None = None) -> list[set[str]]:
    found = question_clusters(by, QRELS, lambda: iter(PASSAGES if passages is None else passages)).of
    return sorted(({q for q in found if found[q] == one} for one in set(found.values())), key=min)


def test_questions_that_share_a_positive_are_one_cluster_also_through_others() -> None:
    assert grouped("passage", []) == [{"q1", "q2", "q3"}, {"q4"}, {"q5"}, {"q6"}]


def test_questions_are_grouped_by_a_field_of_their_positives() -> None:
    assert grouped("field:title") == [{"q1", "q2", "q3", "q4"}, {"q5"}, {"q6"}]
    assert grouped("field:kind") == [{"q1", "q2", "q3"}, {"q4"}, {"q5"}, {"q6"}]


def test_pieces_bring_the_field_of_the_judged_document() -> None:
    pieces = [Passage(f"{one}#1", "x", "Same", parent=one) for one in "abce"]
    assert grouped("field:title", pieces) == [{"q1", "q2", "q3", "q4", "q6"}, {"q5"}]


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ("field:titel", "no relevant passage has such a field; did you mean 'title'"),
        ("field:only_here", "no relevant passage has such a field; known: kind, title"),
        ("pasage", "unknown clusters 'pasage'; did you mean 'passage'"),
        ("field:", "unknown clusters 'field:'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(by: str, words: str) -> None:
    with pytest.raises(EvaluationError, match=words):
        question_clusters(by, QRELS, lambda: iter(PASSAGES))


def test_nothing_judged_and_one_cluster_are_refused() -> None:
    with pytest.raises(EvaluationError, match="need judgements"):
        question_clusters("passage", {}, lambda: iter(()))
    one = question_clusters("passage", {"q1": {"a": 1}, "q2": {"a": 1}}, lambda: iter(()))
    with pytest.raises(EvaluationError, match="clusters by passage: all 2 questions are in one cluster"):
        one.labels(["q1", "q2"])
    with pytest.raises(EvaluationError, match="'q9' has no judgement"):
        one.labels(["q1", "q9"])


def example() -> tuple[Qrels, dict[str, Run]]:
    generator = np.random.default_rng(0)
    qrels: Qrels = {f"q{i:02d}": {f"hit{i // 3}": 1} for i in range(45)}
    runs: dict[str, Run] = {}
    for name, deepest in (("one", 12), ("two", 8), ("three", 6)):
        runs[name] = {}
        for query, grades in qrels.items():
            order = [f"p{i}" for i in range(15)]
            order.insert(int(generator.integers(0, deepest)), *grades)
            runs[name][query] = {passage: -float(rank) for rank, passage in enumerate(order)}
    return qrels, runs


def test_a_comparison_has_the_tests_by_cluster_with_holm_over_its_pairs() -> None:
    qrels, runs = example()
    clusters = question_clusters("passage", qrels, lambda: iter(()))
    plain = compare_runs(runs, ["MRR@10"], qrels=qrels)
    found = compare_runs(runs, ["MRR@10"], qrels=qrels, clusters=[clusters])
    ps = []
    for pair, before in zip(found.pairs, plain.pairs, strict=True):
        (one,) = pair.found.clustered
        differences = found.measured(pair.name).of("MRR@10") - found.measured("one").of("MRR@10")
        labels = [place // 3 for place in range(45)]
        assert one.clusters == 15
        assert (one.low, one.high) == bootstrap_interval(differences, clusters=labels)
        assert one.p == randomisation_test(differences, clusters=labels)
        assert (pair.found.p, pair.p_holm, pair.found.low) == (
            before.found.p,
            before.p_holm,
            before.found.low,
        )
        ps.append(one.p)
    assert [pair.found.clustered[0].p_holm for pair in found.pairs] == holm(ps)
    (entry, _) = comparison_json(found)["pairs"]
    assert entry["clustered"][0]["clusters"] == 15
    assert set(entry["clustered"][0]) == {"by", "clusters", "low", "high", "p", "p_holm"}
    assert "clustered" not in comparison_json(plain)["pairs"][0]


def test_a_result_against_a_baseline_has_them_too() -> None:
    measured = [
        Measured(tuple("abcd"), {"MRR@10": np.array(row)}) for row in ([1.0, 1, 0, 0], [0.5, 0.5, 0, 1])
    ]
    clusters = Clusters("passage", {"a": "a", "b": "a", "c": "c", "d": "d"})
    systems = [SystemResult("base", measured[1]), SystemResult("ours", measured[0])]
    versus = results_json(systems, baseline="base", clusters=[clusters])[1]["versus"]["MRR@10"]
    (one,) = compare(*measured, "MRR@10", clusters=[clusters]).clustered
    assert versus["clustered"] == [
        {"by": "passage", "clusters": 3, "low": one.low, "high": one.high, "p": one.p}
    ]
