"""Figures read from an ablation's table, and pseudo-questions drawn from passages."""

from typing import Any

from benchmarks.ablation_figures import (
    CUT_PAIRS,
    LEAK_FREE,
    ROWS,
    THROUGHOUT,
    _pairs,
    gain_of,
    once_trained,
)
from benchmarks.never_harms import SPAN, pseudo_questions

from ernie_search.evaluation import holm
from ernie_search.pipeline import load_recipe
from ernie_search.pipeline.recipe import rows_file
from ernie_search.types import Passage


def gain(difference: float, p: float, by_passage: float) -> dict[str, Any]:
    test = {"by": "passage", "clusters": 9, "low": 0.0, "high": 0.1, "p": by_passage}
    one = {"seed": 0, "difference": difference, "p": p, "clustered": [test]}
    return {"difference": difference, "low": 0.0, "high": 0.1, "p": p, "clustered": [test], "seeds": [one]}


def row(name: str, over: dict[str, Any]) -> dict[str, Any]:
    return {"row": name, "MRR@10": 0.5, "over_alone": None, "over_both": None, "over": over}


def test_figures_have_tests_by_cluster_with_holm_over_the_figures_alone() -> None:
    full = {"alone-throughout": gain(0.06, 0.001, 0.01), "interaction": gain(0.01, 0.02, 0.04)}
    table = {
        "rows": [
            row("full", full | {"base": gain(0.3, 0.5, 0.6)}),
            row("alone-throughout", {}),
            row("interaction", {}),
        ]
    }
    found = {one.figure: one for one in _pairs(table, CUT_PAIRS, {"split": "dev"})}
    assert set(found) == {"full_over_alone_throughout", "cascade_gain"}
    first = found["full_over_alone_throughout"].settings
    assert [one.settings["p_holm"] for one in found.values()] == holm([0.001, 0.02])
    assert [one.settings["clustered"][0]["p_holm"] for one in found.values()] == holm([0.01, 0.04])
    assert first["by_seed"][0]["clustered"]["passage"]["p"] == 0.01
    assert gain_of(table, "full", "both") is None
    assert gain_of(table, "missing", "alone") is None


def test_pairs_are_of_rows_that_there_are() -> None:
    known = {*rows_file()["rows"], *ROWS}
    assert {name for pair in CUT_PAIRS.values() for name in pair} <= known


def test_a_leak_free_run_leaves_out_dev_and_test_wherever_negatives_are_drawn() -> None:
    mined = {one.name: one.settings for one in load_recipe("squad", LEAK_FREE).stages}
    assert mined["mine"].leave_out == ["dev", "test"]
    assert mined["warm-up"].leave_out_splits == ["dev", "test"]
    once = load_recipe(THROUGHOUT, once_trained(LEAK_FREE, {}, whole=False))
    assert once.train.leave_out_splits == ["dev", "test"]


def test_pseudo_questions_are_spans_of_passages_drawn_from_the_whole_corpus() -> None:
    passages = [
        Passage(f"p{i}", " ".join(f"word{letter}{chr(97 + i % 26)}" for letter in "abcdefghijklmnop"))
        for i in range(20)
    ]
    passages.append(Passage("numbers", " ".join(map(str, range(30)))))
    queries, qrels = pseudo_questions(passages, 200)
    texts = {one.id: one.text for one in passages}
    assert len(queries) == 200
    assert {one for grades in qrels.values() for one in grades} == {f"p{i}" for i in range(20)}
    for query in queries:
        (passage,) = qrels[query.id]
        assert f" {query.text} " in f" {texts[passage]} "
        assert SPAN[0] <= len(query.text.split()) <= SPAN[1]
    assert pseudo_questions(passages, 200) == (queries, qrels)
    assert pseudo_questions(passages[-1:], 5) == ([], {})
