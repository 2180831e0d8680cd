"""Answer recall@k: DPR's normalisation and token match, on cases worked by hand."""

import unicodedata

import pytest

from ernie_search.errors import EvaluationError
from ernie_search.evaluation.answers import (
    answer_recall,
    answers_of,
    dpr_tokens,
    holds_answer,
    parse_answer_measure,
)
from ernie_search.types import Passage, Query, Run


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The U.S. in 1999", ["the", "u", ".", "s", ".", "in", "1999"]),
        ("don't", ["don", "'", "t"]),
        ("twenty-one", ["twenty", "-", "one"]),
        ("a_b", ["a", "_", "b"]),  # the low line is no letter: a token of its own
        ("$3,000.50", ["$", "3", ",", "000", ".", "50"]),
        ("x\u00a0y\u200bz\tw", ["x", "y", "z", "w"]),  # no-break space, zero-width space, tab
        ("", []),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert dpr_tokens(text) == tokens


def test_accents_are_decomposed_and_count() -> None:
    assert dpr_tokens("CAFÉ") == [unicodedata.normalize("NFD", "café")]
    assert holds_answer("a caf\u00e9", ["cafe\u0301"])  # the same letters in two encodings
    assert not holds_answer("a cafe", ["café"])


@pytest.mark.parametrize(
    ("text", "answers", "held"),
    [
        ("It became Beijing.", ["beijing"], True),
        ("It became Beijing.", ["Beijin"], False),  # whole tokens
        ("The Beijingers left", ["Beijing"], False),
        ("in the U.S. Army", ["U.S. Army"], True),
        ("in the US Army", ["U.S. Army"], False),
        ("born 14 March 1879", ["March 14", "14 March"], True),  # any of them
        ("New-York", ["New York"], False),  # the hyphen is a token between
        ("the end of one. Two begins", ["one two"], False),
        ("the end of one Two begins", ["one two"], True),
        ("anything", ["", "\u200b"], False),
        ("東京は日本の首都", ["東京"], False),  # letters without spaces are one token, as in DPR
        ("東京 は 日本", ["東京"], True),
    ],
)
def test_what_holds_an_answer(text: str, answers: list[str], held: bool) -> None:
    assert holds_answer(text, answers) is held


def slowly_holds(text: str, answer: str) -> bool:
    """The comparison as its definition says: every place in the list of tokens."""
    tokens, wanted = dpr_tokens(text), dpr_tokens(answer)
    return bool(wanted) and any(
        tokens[i : i + len(wanted)] == wanted for i in range(len(tokens) - len(wanted) + 1)
    )


def test_the_quick_comparison_equals_the_definition() -> None:
    words = ["a", "aa", "b-a", "A", "é", "1", ".", "a b"]
    texts = [f"{x} {y} {z}" for x in words for y in words for z in words]
    for text in texts[::7]:
        for answer in [*words, "a a", "b - a", "- a 1"]:
            assert holds_answer(text, [answer]) is slowly_holds(text, answer), (text, answer)


PASSAGES = [
    Passage("p1", "Beijing is large."),
    Passage("p2", "Paris, France", title="Rome"),
    Passage("p3", "x"),
]
RUN: Run = {
    "q1": {"p3": 3.0, "p2": 2.0, "p1": 1.0},  # found at rank 3
    "q2": {"p2": 3.0, "p3": 2.0},  # only in the title: not found
    "q3": {"p2": 1.0},  # found at rank 1
    "q9": {"p1": 1.0},  # nobody knows its answers
}
ANSWERS = {"q1": ("Beijing",), "q2": ("Rome",), "q3": ("London", "Paris"), "q4": ("x",)}


def test_hand_worked_recall() -> None:
    measured = answer_recall(RUN, ANSWERS, iter(PASSAGES), [1, 2, 3])
    assert measured.query_ids == ("q1", "q2", "q3", "q4")
    assert measured.of("answer_recall@1").tolist() == [0, 0, 1, 0]
    assert measured.of("answer_recall@2").tolist() == [0, 0, 1, 0]
    assert measured.of("answer_recall@3").tolist() == [1, 0, 1, 0]
    assert (measured.missing, measured.unjudged) == (1, 1)


def test_answers_that_stand_with_the_questions() -> None:
    queries = [
        Query("a", "?", {"answers": ["x", "y"]}),
        Query("b", "?", {"metadata": {"answers": ["z"]}}),
        Query("c", "?", {"metadata": {}}),
        Query("d", "?", {"answers": []}),
    ]
    assert answers_of(queries) == {"a": ("x", "y"), "b": ("z",)}


def test_names() -> None:
    assert parse_answer_measure("answer_recall@20") == 20
    assert parse_answer_measure("recall@20") is None
    assert parse_answer_measure("answer_recall") is None


def test_bad_input_is_refused() -> None:
    with pytest.raises(EvaluationError, match="'p1', found for query 'q1', is not in the collection"):
        answer_recall(RUN, ANSWERS, PASSAGES[1:], [3])
    with pytest.raises(EvaluationError, match="no question has answers"):
        answer_recall(RUN, {}, PASSAGES)
    with pytest.raises(EvaluationError, match="none of the run's 1 questions has answers"):
        answer_recall({"q9": {"p1": 1.0}}, ANSWERS, PASSAGES)
    with pytest.raises(EvaluationError, match="cutoffs of at least 1"):
        answer_recall(RUN, ANSWERS, PASSAGES, [0])
