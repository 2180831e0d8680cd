"""CuratedTREC's answers are regular expressions: cases worked by hand, and what is no expression."""

import unicodedata

import pytest

from ernie_search.evaluation.answers import answer_recall, broken_patterns
from ernie_search.types import Passage


def matches(text: str, answers: list[str]) -> bool:
    """Whether a passage of this text, the only one of a run, counts as found."""
    passages = [Passage("p", text)]
    measured = answer_recall({"q": {"p": 1.0}}, {"q": answers}, passages, [1], match="regex")
    return bool(measured.of("answer_recall@1")[0])


@pytest.mark.parametrize(
    ("text", "answers", "found"),
    [
        ("It opened on Nov. 9, 1989.", [r"Nov(ember|\.)? 9,? 1989"], True),
        ("It opened on november 9 1989.", [r"Nov(ember|\.)? 9,? 1989"], True),  # any case
        ("It opened on 19 November.", [r"Nov(ember|\.)? 9,? 1989", r"19\s+Nov"], True),  # any of them
        ("about 29,028 feet", [r"29[,.]?0(28|35)"], True),
        ("about 29,029 feet", [r"29[,.]?0(28|35)"], False),
        ("The Beijingers left", ["Beijing"], True),  # a pattern is found inside of words, too
        ("first line\nParis", ["^Paris$"], True),  # ^ and $ at any line
        ("in Paris", ["^Paris$"], False),
        ("a cafe\u0301", ["caf\u00e9"], True),  # the same letters in two encodings
        ("a cafe", ["caf\u00e9"], False),
        ("anything (", ["("], False),  # no expression: found nowhere, not even as it stands
    ],
)
def test_what_matches(text: str, answers: list[str], found: bool) -> None:
    assert matches(text, answers) is found


def test_recall_with_patterns_differs_from_recall_with_words() -> None:
    passages = [Passage("p1", "in 1989, in November"), Passage("p2", "on Nov 9 1989"), Passage("p3", "x")]
    run = {"q1": {"p1": 3.0, "p2": 2.0}, "q2": {"p3": 1.0}}
    answers = {"q1": (r"Nov(ember)? 9",), "q2": (r"[xyz]", "(")}
    measured = answer_recall(run, answers, passages, [1, 2], match="regex")
    assert measured.of("answer_recall@1").tolist() == [0, 1]
    assert measured.of("answer_recall@2").tolist() == [1, 1]
    words = answer_recall(run, answers, passages, [1, 2])
    assert words.of("answer_recall@2").tolist() == [0, 0]
    assert broken_patterns(answers) == ["("]


def test_the_text_is_decomposed_as_for_words() -> None:
    composed = unicodedata.normalize("NFC", "Röntgen")
    assert matches(composed, ["Ro\u0308ntgen"])
