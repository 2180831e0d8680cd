"""Negatives: never a positive, never twice, the same whatever the order."""

from collections import Counter

import pytest

from ernie_search.errors import DataError, SettingsError
from ernie_search.mining.negatives import mine_negatives
from ernie_search.types import Qrels, Run

RUN: Run = {f"q{q}": {f"p{p}": float(-p) for p in range(50)} for q in range(200)}
QRELS: Qrels = {f"q{q}": {"p0": 1, "p3": 2, "p4": 0, "p99": 1} for q in range(200)}


def test_window_and_positives() -> None:
    mined = mine_negatives(RUN, QRELS, 5, first=2, last=12)
    allowed = {f"p{p}" for p in range(2, 12)} - {"p3"}
    for names in mined.negatives.values():
        assert len(set(names)) == len(names) == 5
        assert set(names) <= allowed
    assert mined.positives_removed == 200
    assert (mined.short, mined.filled, mined.unjudged, mined.absent) == (0, 0, 0, 0)
    # judged and not relevant is a negative as good as any; all of the window is drawn from, evenly
    drawn = Counter(name for names in mined.negatives.values() for name in names)
    assert set(drawn) == allowed
    assert max(drawn.values()) < 1.5 * min(drawn.values())


def test_all_of_a_window() -> None:
    mined = mine_negatives(RUN, QRELS, 4, last=4)
    assert {frozenset(names) for names in mined.negatives.values()} == {frozenset({"p1", "p2"})}
    assert mined.short == 200
    assert mined.positives_removed == 400


def test_depends_on_seed_and_query_only() -> None:
    mined = mine_negatives(RUN, QRELS, 5, seed=3).negatives
    turned = {q: dict(reversed(scores.items())) for q, scores in reversed(RUN.items())}
    assert mine_negatives(turned, QRELS, 5, seed=3).negatives == mined
    assert mine_negatives({"q7": RUN["q7"]}, QRELS, 5, seed=3).negatives == {"q7": mined["q7"]}
    assert mine_negatives(RUN, QRELS, 5, seed=4).negatives != mined
    assert len({tuple(names) for names in mined.values()}) > 150  # and queries are not drawn alike


def test_is_the_same_on_every_machine() -> None:
    """A change here changes what past seeds trained on: say so in the change log."""
    assert mine_negatives({"q": RUN["q1"]}, {"q": {"p0": 1}}, 3, seed=1).negatives == {
        "q": ["p32", "p4", "p2"]
    }


def test_short_lists_stay_short_or_are_filled_from_the_corpus() -> None:
    run: Run = {"q1": {"a": 3.0, "b": 2.0, "pos": 1.0}, "q2": {}}
    qrels: Qrels = {"q1": {"pos": 1, "far": 1}, "q2": {"pos": 1}}
    short = mine_negatives(run, qrels, 4, first=1)
    assert short.negatives == {"q1": ["b"], "q2": []}
    assert (short.short, short.filled, short.positives_removed) == (2, 0, 1)

    corpus = ["a", "b", "pos", "far", "c", "d", "e", "e", "c"]
    filled = mine_negatives(run, qrels, 4, first=1, corpus_ids=corpus)
    assert filled.negatives["q1"][0] == "b"
    assert set(filled.negatives["q1"][1:]) == {"c", "d", "e"}  # a was skipped as too near the top
    assert len(set(filled.negatives["q2"])) == 4
    assert "pos" not in filled.negatives["q2"]
    assert (filled.short, filled.filled) == (0, 7)

    exhausted = mine_negatives(run, qrels, 10, first=1, corpus_ids=corpus)
    assert sorted(exhausted.negatives["q1"]) == ["b", "c", "d", "e"]
    assert exhausted.short == 2


def test_copies_of_a_positive_are_neither_mined_nor_filled() -> None:
    run: Run = {"q": {"b": 4.0, "copy": 3.0, "c": 2.0}}
    keys = {name: name.encode() for name in ("pos", "b", "c", "d", "e")}
    keys |= dict.fromkeys(("copy", "far copy"), b"pos")
    corpus = [*keys, "far copy"]
    for number in (2, 4):
        mined = mine_negatives(run, {"q": {"pos": 1}}, number, corpus_ids=corpus, text_keys=keys)
        assert sorted(mined.negatives["q"]) == ["b", "c", "d", "e"][:number]
        assert mined.copies_removed == 1
    exhausted = mine_negatives(run, {"q": {"pos": 1}}, 9, corpus_ids=corpus, text_keys=keys)
    assert sorted(exhausted.negatives["q"]) == ["b", "c", "d", "e"]


def test_unjudged_and_absent_are_counted() -> None:
    mined = mine_negatives({"q1": {"a": 1.0}, "x": {"a": 1.0}}, {"q1": {"b": 1}, "y": {"a": 1}, "z": {}}, 1)
    assert mined.negatives == {"q1": ["a"]}
    assert (mined.unjudged, mined.absent) == (1, 2)


def test_bad_input_is_refused() -> None:
    with pytest.raises(SettingsError, match="number of negatives is 0"):
        mine_negatives(RUN, QRELS, 0)
    with pytest.raises(SettingsError, match="rank window is 5 to 5"):
        mine_negatives(RUN, QRELS, 1, first=5, last=5)
    with pytest.raises(SettingsError, match="rank window is -1 to 5"):
        mine_negatives(RUN, QRELS, 1, first=-1, last=5)
    with pytest.raises(SettingsError, match="8 negatives asked from 5 ranks"):
        mine_negatives(RUN, QRELS, 8, last=5)
    with pytest.raises(DataError, match="question 'q1': a score is NaN"):
        mine_negatives({"q1": {"a": float("nan")}}, QRELS, 1)


@pytest.mark.parametrize("filled", [False, True])
def test_a_question_that_is_a_passage_is_not_its_own_negative(filled: bool) -> None:
    keys = {name: name[0].encode() for name in ("q1", "q1-copy", "asked", "pos", "b", "c")} | {"asked": b"?"}
    run: Run = {"q1": {"pos": 9.0} if filled else dict.fromkeys(keys, 1.0)}
    given = {"corpus_ids": list(keys), "text_keys": keys, "question_keys": {"q1": b"?"}}
    mined = mine_negatives(run, {"q1": {"pos": 1, "q1": 0}}, 3, last=6, **given)
    assert set(mined.negatives["q1"]) == {"b", "c"}
    assert (mined.own_removed, mined.copies_removed, mined.short) == (0 if filled else 3, 0, 1)
    relevant = mine_negatives(run, {"q1": {"q1": 1}}, 5, last=6, **given)
    assert set(relevant.negatives["q1"]) == {"pos", "b", "c"}  # the copy is one of a positive
    assert mine_negatives(run, {"q1": {"pos": 1}}, 3, last=6).negatives["q1"].count("q1") == 0


def test_what_is_relevant_elsewhere_is_drawn_neither_from_the_ranks_nor_from_the_corpus() -> None:
    run = {"q": {f"p{i}": float(-i) for i in range(6)}}
    corpus = [f"p{i}" for i in range(9)]
    keys = {one: one.encode() for one in corpus} | {"p3": b"p2"}
    mined = mine_negatives(
        run, {"q": {"p0": 1}}, 8, last=6, corpus_ids=corpus, text_keys=keys, held={"p2", "p7"}
    )
    assert set(mined.negatives["q"]) == {"p1", "p4", "p5", "p6", "p8"}
    assert (mined.left_out, mined.copies_removed, mined.filled, mined.short) == (2, 0, 2, 1)
    assert mine_negatives(run, {"q": {"p0": 1}}, 3, last=6).left_out == 0
