"""The verdict: what is kept, by what, and what is said."""

import numpy as np
import pytest

from ernie_search.adaptation.questioned import HELD_OUT, LABELLED
from ernie_search.adaptation.verdict import (
    Candidate,
    CheckSettings,
    Verdict,
    candidate_shares,
    decide,
    said,
    verdict_table,
)

NUMBER = 60
SETTINGS = CheckSettings()


def candidate(name, share, dense, hybrid=0.8, general=0.9, agreement=0.9, labelled=None):
    """Every question has the same value, but for a little that differs from question to question."""
    wave = np.sin(np.arange(NUMBER)) * 0.01
    values = {HELD_OUT: {"dense": (dense + wave).tolist(), "hybrid": [hybrid] * NUMBER}}
    if labelled is not None:
        values[LABELLED] = {"dense": (labelled + wave).tolist(), "hybrid": [hybrid] * NUMBER}
    return Candidate(name, share, values, general, agreement)


def clusters(*splits, number=NUMBER):
    return {split: [f"p{row % number}" for row in range(NUMBER)] for split in splits}


def test_the_best_of_those_that_gain_is_kept():
    base = candidate("base", None, 0.4)
    others = [candidate("weights", 0.0, 0.42), candidate("0.5", 0.5, 0.46), candidate("adapted", 1.0, 0.44)]
    found = decide(base, others, clusters(HELD_OUT), SETTINGS)
    assert (found.use, found.kept, found.share, found.decided_by) == (True, "0.5", 0.5, HELD_OUT)
    assert found.sentence.startswith(
        "Use it: MRR@10 of the single vector goes from 0.400 to 0.460 on 60 held-out made questions "
    )
    row = next(row for row in found.rows if (row.name, row.mode) == ("0.5", "dense"))
    assert row.difference == pytest.approx(0.06)
    assert row.low <= 0.06 <= row.high
    assert row.p < 0.001
    assert "own words" in found.limits


def test_nothing_gained_keeps_the_base():
    found = decide(
        candidate("base", None, 0.4), [candidate("weights", 0.0, 0.4)], clusters(HELD_OUT), SETTINGS
    )
    assert (found.use, found.kept, found.share) == (False, "base", None)
    assert found.sentence.startswith("Keep what you have: of the candidates 'weights' was best, and no gain")


def test_a_gain_within_chance_keeps_the_base():
    base = candidate("base", None, 0.4)
    random = np.random.default_rng(0)
    values = {HELD_OUT: {"dense": random.random(NUMBER).tolist(), "hybrid": [0.8] * NUMBER}}
    before = {HELD_OUT: {"dense": random.random(NUMBER).tolist(), "hybrid": [0.8] * NUMBER}}
    found = decide(
        Candidate("base", None, before, 0.9, 1.0),
        [Candidate("weights", 0.0, values, 0.9, 0.9)],
        clusters(HELD_OUT),
        SETTINGS,
    )
    assert not found.use
    assert base.share is None


def test_labels_decide_where_there_are_enough():
    base = candidate("base", None, 0.4, labelled=0.5)
    worse = candidate("weights", 0.0, 0.5, labelled=0.45)
    found = decide(base, [worse], clusters(HELD_OUT, LABELLED), SETTINGS)
    assert (found.use, found.decided_by) == (False, LABELLED)
    assert "worse in the single vector on labelled questions" in found.refused["weights"]
    better = candidate("adapted", 1.0, 0.41, labelled=0.55)
    found = decide(base, [worse, better], clusters(HELD_OUT, LABELLED), SETTINGS)
    assert (found.use, found.kept) == (True, "adapted")
    assert "60 labelled questions" in found.sentence


def test_the_trained_model_is_a_candidate_where_labels_decide():
    assert candidate_shares(CheckSettings(), clusters(HELD_OUT)) == [0.0, 0.5]
    assert candidate_shares(CheckSettings(), clusters(HELD_OUT, LABELLED)) == [0.0, 0.5, 1.0]
    few = {LABELLED: ["a", "b", "c"], **clusters(HELD_OUT)}
    assert candidate_shares(CheckSettings(), few) == [0.0, 0.5]


def test_where_labels_decide_the_trained_model_has_to_be_surely_better_than_halfway():
    base, half = candidate("base", None, 0.4, labelled=0.4), candidate("halfway", 0.5, 0.4, labelled=0.5)
    noise = np.where(np.arange(NUMBER) % 2, 0.1, -0.095)  # better in the mean, by nothing that is sure
    unsure = candidate("adapted", 1.0, 0.4, labelled=0.5)
    unsure.values[LABELLED]["dense"] = (np.array(unsure.values[LABELLED]["dense"]) + noise).tolist()
    sure = candidate("adapted", 1.0, 0.4, labelled=0.55)
    for last, kept in ((unsure, "halfway"), (sure, "adapted")):
        found = decide(base, [half, last], clusters(HELD_OUT, LABELLED), SETTINGS)
        assert (found.use, found.kept) == (True, kept)
    usual = CheckSettings(shares=(0.5, 1.0))
    assert decide(base, [half, unsure], clusters(HELD_OUT, LABELLED), usual).kept == "adapted"


def test_labels_too_few_to_decide_refuse_nothing():
    def with_three(name, share, dense, labelled):
        one = candidate(name, share, dense)
        values = dict(one.values) | {LABELLED: {"dense": [labelled] * 3, "hybrid": [labelled] * 3}}
        return Candidate(name, share, values, 0.9, 0.9)

    groups = clusters(HELD_OUT) | {LABELLED: ["p0", "p1", "p2"]}
    base, worse_there = with_three("base", None, 0.4, 0.5), with_three("adapted", 1.0, 0.5, 0.4)
    found = decide(base, [worse_there], groups, SETTINGS)
    assert (found.use, found.decided_by, found.refused) == (True, HELD_OUT, {})


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"general": 0.75}, "reads general text worse than the base: MRR@10 0.900 to 0.750"),
        ({"agreement": 0.3}, "agrees with the base on 30% of the nearest general texts"),
        ({"hybrid": 0.7}, "is worse in hybrid search on held-out made questions: 0.800 to 0.700"),
    ],
)
def test_harm_elsewhere_refuses_a_candidate(changes, why):
    base, harmful = candidate("base", None, 0.4), candidate("adapted", 1.0, 0.6, **changes)
    found = decide(base, [harmful], clusters(HELD_OUT), SETTINGS)
    assert not found.use
    assert why in found.refused["adapted"]
    assert why in found.sentence
    mild = candidate("weights", 0.0, 0.45)
    assert decide(base, [mild, harmful], clusters(HELD_OUT), SETTINGS).kept == "weights"


def test_any_loss_in_hybrid_search_refuses_where_made_questions_decide():
    base, better = candidate("base", None, 0.4), candidate("adapted", 1.0, 0.6)
    better.values[HELD_OUT]["hybrid"][0] -= 0.1  # far from sure
    found = decide(base, [candidate("0.5", 0.5, 0.5), better], clusters(HELD_OUT), SETTINGS)
    assert (found.use, found.kept) == (True, "0.5")
    assert "worse in hybrid search on held-out made questions: 0.800 to 0.798" in found.refused["adapted"]
    labelled, base = candidate("adapted", 1.0, 0.6, labelled=0.6), candidate("base", None, 0.4, labelled=0.4)
    for split in (HELD_OUT, LABELLED):
        labelled.values[split]["hybrid"][0] -= 0.1
    found = decide(base, [labelled], clusters(HELD_OUT, LABELLED), SETTINGS)
    assert (found.use, found.decided_by) == (True, LABELLED)


def test_a_small_loss_on_general_text_refuses_nothing():
    base, better = candidate("base", None, 0.4), candidate("adapted", 1.0, 0.6, general=0.85)
    assert decide(base, [better], clusters(HELD_OUT), SETTINGS).kept == "adapted"


def test_few_questions_or_few_passages_decide_nothing():
    base, better = candidate("base", None, 0.4), candidate("adapted", 1.0, 0.6)
    found = decide(base, [better], clusters(HELD_OUT, number=19), SETTINGS)
    assert not found.use
    assert found.sentence.startswith("Keep what you have: 60 questions to measure by are too few to tell")
    one = decide(base, [better], clusters(HELD_OUT, number=1), SETTINGS)
    assert not one.use
    assert {row.p for row in one.rows} == {1.0}


def test_a_verdict_is_read_as_it_was_written(tmp_path):
    import json

    others = [candidate("weights", 0.0, 0.42)]
    found = decide(candidate("base", None, 0.4), others, clusters(HELD_OUT), SETTINGS)
    found.write(tmp_path / "verdict.json")
    again = Verdict.of(json.loads((tmp_path / "verdict.json").read_text()))
    assert again == found
    table = verdict_table(again)
    assert table.row_count == 2
    assert next(iter(table.columns[0].cells)).plain == "weights *"


def test_small_p_values_are_said_as_small():
    assert (said(0.00001), said(0.0421)) == ("< 0.001", "= 0.042")
