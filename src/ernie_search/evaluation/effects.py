"""Where a run wins and loses against another: question by question, and by kind of question."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ernie_search.evaluation.answers import Answers
from ernie_search.evaluation.comparison import RunComparison
from ernie_search.evaluation.measures import Measured, ranked, relevant_from
from ernie_search.evaluation.significance import bootstrap_interval
from ernie_search.types import Qrels, Run

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
class Effect:
    """The result of one question in two runs.

    Attributes:
        query: its id.
        value, other: the measure in the run and in the one it is compared with.
        rank, other_rank: of the first relevant passage, from 1; ``None`` where none was found.
    """

    query: str
    value: float
    other: float
    rank: int | None = None
    other_rank: int | None = None

    @property
    def difference(self) -> float:
        """``value`` minus ``other``: above 0 the question was won."""
        return self.value - self.other


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
        """Mean difference of the two runs."""
        return self.value - self.other


@dataclass(frozen=True, slots=True)
class PairFindings:
    """One run over another, question by question, in the deciding measure.

    Attributes:
        name, over: the two runs.
        effects: of every question, the best won first.
        where: title -> kinds of questions.
    """

    name: str
    over: str
    effects: list[Effect]
    where: dict[str, list[Bucket]]


def first_ranks(run: Run, qrels: Qrels, relevant: int = 1) -> dict[str, int | None]:
    """For each judged question the rank, from 1, of its first relevant passage; ``None``: not found.

    Args:
        run: to look in.
        qrels: by question.
        relevant: the lowest grade that is relevant.
    """
    found: dict[str, int | None] = {}
    for query, grades in qrels.items():
        order = ranked(run.get(query, {}), query)
        hits = (rank for rank, one in enumerate(order, 1) if grades.get(one, 0) >= relevant)
        found[query] = next(hits, None)
    return found


def effects(
    own: Measured,
    other: Measured,
    measure: str,
    ranks: Mapping[str, int | None] | None = None,
    other_ranks: Mapping[str, int | None] | None = None,
) -> list[Effect]:
    """Every question's effect, the best won first, the worst lost last; equal ones by id.

    Args:
        own, other: measured over the same questions.
        measure: which.
        ranks, other_ranks: see :func:`first_ranks`.
    """
    rows = zip(own.query_ids, own.of(measure).tolist(), other.of(measure).tolist(), strict=True)
    found = [
        Effect(query, value, before, (ranks or {}).get(query), (other_ranks or {}).get(query))
        for query, value, before in rows
    ]
    return sorted(found, key=lambda effect: (-effect.difference, effect.query))


def won(found: list[Effect], number: int) -> list[Effect]:
    """The ``number`` questions won by most."""
    return [effect for effect in found[:number] if effect.difference > 0]


def lost(found: list[Effect], number: int) -> list[Effect]:
    """The ``number`` questions lost by most, the worst first."""
    worst = sorted(found[-number:] if number else [], key=lambda effect: (effect.difference, effect.query))
    return [effect for effect in worst if effect.difference < 0]


def breakdown(found: Sequence[Effect], labels: Mapping[str, str], order: Iterable[str]) -> list[Bucket]:
    """The effects by kind of question. The intervals are descriptive: nothing here is tested or corrected.

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
    """One of ``ANSWER_TYPES``, guessed roughly from the letters, without a model.

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
    longer = [word for word in words if len(word) > SHORT_ANSWER] or words
    if longer and all(word[0].isupper() for word in longer):
        return "name"
    return "short phrase" if len(words) <= SHORT_ANSWER else "long phrase"


def _step(value: int, steps: Sequence[tuple[int, str]], beyond: str) -> str:
    return next((label for most, label in steps if value <= most), beyond)


def pair_findings(
    comparison: RunComparison,
    runs: Mapping[str, Run],
    *,
    qrels: Qrels | None = None,
    texts: Mapping[str, str] | None = None,
    answers: Answers | None = None,
    bm25: Run | None = None,
) -> list[PairFindings]:
    """The effects of each pair that was compared, and where they are.

    Args:
        comparison: of these runs.
        runs: by name.
        qrels: for the ranks of the first relevant passages.
        texts: of the questions, by id; for their length.
        answers: for their type.
        bm25: a run of BM25; needs ``qrels``.
    """
    measure = comparison.measures[0]
    ids = comparison.questions.ids
    judged = {query: (qrels or {}).get(query, {}) for query in ids}
    relevant = relevant_from(measure)
    ranks = {name: first_ranks(run, judged, relevant) if qrels else {} for name, run in runs.items()}
    kinds = {}
    if texts:
        kinds["by the question's length"] = by_length(
            {query: texts[query] for query in ids if query in texts}
        )
    if bm25 is not None and qrels:
        kinds["by BM25's rank of the first relevant passage"] = by_rank(first_ranks(bm25, judged, relevant))
    if answers:
        kinds["by the answer"] = by_answer_type({query: answers[query] for query in ids if query in answers})
    found = []
    for pair in comparison.pairs_of(measure):
        own, other = comparison.measured(pair.name), comparison.measured(pair.over)
        each = effects(own, other, measure, ranks[pair.name], ranks[pair.over])
        where = {title: breakdown(each, labels, order) for title, (labels, order) in kinds.items()}
        found.append(PairFindings(pair.name, pair.over, each, where))
    return found
