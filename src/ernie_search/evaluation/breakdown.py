"""Where a run wins and loses: by the length of the question, the rank of BM25, the type of the answer."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ernie_search.evaluation.effects import Effect
from ernie_search.evaluation.intervals import bootstrap_interval

WORD = re.compile(r"\w+")
LENGTHS = ((5, "up to 5 words"), (8, "6 to 8 words"), (11, "9 to 11 words"), (15, "12 to 15 words"))
LONGER = "16 words and more"
RANKS = ((1, "rank 1"), (5, "rank 2 to 5"), (10, "rank 6 to 10"), (100, "rank 11 to 100"))
DEEPER, NOT_FOUND = "rank below 100", "not found"
YEAR = re.compile(r"1\d{3}|20\d{2}")
MONTHS = frozenset(
    (
        *("january", "february", "march", "april", "may", "june", "july", "august", "september"),
        *("october", "november", "december"),
    )
)
SHORT_ANSWER = 3
"""Words of a short answer, as extractive question answering counts them."""
ANSWER_TYPES = ("date or year", "number", "name", "short phrase", "long phrase")


@dataclass(frozen=True, slots=True)
class Bucket:
    """The questions of one kind.

    Attributes:
        label: of the kind.
        questions: how many.
        value, other: means of the two runs.
        low, high: 95 % bootstrap interval of the mean difference.
        wins, losses: questions won and lost.
    """

    label: str
    questions: int
    value: float
    other: float
    low: float
    high: float
    wins: int
    losses: int

    @property
    def difference(self) -> float:
        """Mean difference."""
        return self.value - self.other


def breakdown(found: Sequence[Effect], labels: Mapping[str, str], order: Iterable[str]) -> list[Bucket]:
    """The effects by kind of question. The intervals are for looking: nothing here is corrected or tested.

    Args:
        found: every question's effect.
        labels: question id -> kind; questions without a kind are left out.
        order: of the kinds; those without a question are left out.
    """
    buckets = []
    for label in order:
        own = [effect for effect in found if labels.get(effect.query) == label]
        if not own:
            continue
        differences = np.array([effect.difference for effect in own])
        low, high = bootstrap_interval(differences)
        buckets.append(
            Bucket(
                label,
                len(own),
                float(np.mean([effect.value for effect in own])),
                float(np.mean([effect.other for effect in own])),
                low,
                high,
                int((differences > 0).sum()),
                int((differences < 0).sum()),
            )
        )
    return buckets


def by_length(texts: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Kinds by the number of words of the question, and their order."""
    kinds = {query: _step(len(WORD.findall(text)), LENGTHS, LONGER) for query, text in texts.items()}
    return kinds, [label for _, label in LENGTHS] + [LONGER]


def by_rank(ranks: Mapping[str, int | None]) -> tuple[dict[str, str], list[str]]:
    """Kinds by the rank at which some run (BM25's) has the first relevant passage, and their order."""
    kinds = {
        query: NOT_FOUND if rank is None else _step(rank, RANKS, DEEPER) for query, rank in ranks.items()
    }
    return kinds, [label for _, label in RANKS] + [DEEPER, NOT_FOUND]


def by_answer_type(answers: Mapping[str, Sequence[str]]) -> tuple[dict[str, str], list[str]]:
    """Kinds by how the first answer is written, and their order. See :func:`answer_type`."""
    return {query: answer_type(found[0]) for query, found in answers.items() if found}, list(ANSWER_TYPES)


def answer_type(answer: str) -> str:
    """One of ``ANSWER_TYPES``, told by the letters alone: no model, so the same everywhere, and only rough.

    A date or year holds a year or a month beside a number; a number begins with a digit; a name has a
    capital at each word of four letters or more; what remains is a short phrase up to three words, or long.
    """
    words = WORD.findall(answer)
    if any(YEAR.fullmatch(word) for word in words) and len(words) <= SHORT_ANSWER + 1:
        return "date or year"
    if any(word.lower() in MONTHS for word in words) and any(word[0].isdigit() for word in words):
        return "date or year"
    if words and words[0][0].isdigit():
        return "number"
    told = [word for word in words if len(word) > SHORT_ANSWER] or words
    if told and all(word[0].isupper() for word in told):
        return "name"
    return "short phrase" if len(words) <= SHORT_ANSWER else "long phrase"


def _step(value: int, steps: Sequence[tuple[int, str]], beyond: str) -> str:
    return next((label for most, label in steps if value <= most), beyond)
