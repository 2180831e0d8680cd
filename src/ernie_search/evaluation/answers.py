"""Answer recall@k as DPR counts it: a question is found when one of its top k passages holds an answer.

Karpukhin et al. 2020, "Dense Passage Retrieval for Open-Domain Question Answering", and the way its
published evaluation compares texts: Unicode decomposed (NFD), cut into sequences of letters, digits and marks
and into single other characters, lower-cased; an answer is held when its tokens follow one another in the
passage's text. The title does not count. CuratedTREC's answers are regular expressions, which are searched
for in the decomposed text as it stands.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import regex

from ernie_search.errors import EvaluationError
from ernie_search.evaluation.measures import Measured, ranked
from ernie_search.types import Passage, Query, Run

Answers = Mapping[str, Sequence[str]]
"""query id -> its answer strings, any of which counts."""

Match = Literal["string", "regex"]
"""What an answer is: words that a passage holds, or a pattern that is found in it."""

TOKEN = regex.compile(r"[\p{L}\p{N}\p{M}]+|[^\p{Z}\p{C}]")
ANSWER_RECALL = regex.compile(r"answer_recall@([1-9][0-9]*)")
ANSWER_CUTOFFS = (1, 5, 20, 100)


def dpr_tokens(text: str) -> list[str]:
    """The tokens that are compared, in order.

    >>> dpr_tokens("U.S. café")
    ['u', '.', 's', '.', 'café']
    """
    return [token.lower() for token in TOKEN.findall(unicodedata.normalize("NFD", text))]


def holds_answer(text: str, answers: Iterable[str]) -> bool:
    """Whether the tokens of any answer follow one another in the text.

    An answer without a token (blanks, say) is held by no text; in DPR's own script it is held by every one.
    """
    return _holds(_joined(text), [_joined(answer) for answer in answers])


def compile_pattern(answer: str) -> "regex.Pattern[str] | None":
    """An answer as a pattern: any case, ``^`` and ``$`` at any line; ``None`` if it is none."""
    pattern = unicodedata.normalize("NFD", answer)
    try:
        return regex.compile(pattern, regex.IGNORECASE | regex.UNICODE | regex.MULTILINE)
    except regex.error:
        return None


def broken_patterns(answers: Answers) -> list[str]:
    """Answers that are no regular expressions: they are found in no passage, in DPR's own script neither."""
    return sorted({one for strings in answers.values() for one in strings if compile_pattern(one) is None})


def _plain(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def _found(text: str, patterns: "Iterable[regex.Pattern[str] | None]") -> bool:
    return any(pattern is not None and pattern.search(text) is not None for pattern in patterns)


def _joined(text: str) -> str:
    """Tokens between blanks, which no token holds: so that a search for a substring compares whole tokens."""
    return f" {' '.join(dpr_tokens(text))} "


def _holds(text: str, answers: Iterable[str]) -> bool:
    return any(answer.strip() and answer in text for answer in answers)


def parse_answer_measure(name: str) -> int | None:
    """``k`` of ``answer_recall@k``; ``None`` for any other measure."""
    match = ANSWER_RECALL.fullmatch(name)
    return int(match[1]) if match else None


def answers_of(queries: Iterable[Query]) -> dict[str, tuple[str, ...]]:
    """Answers that stand with the questions: a field ``answers``, or ``answers`` in a field ``metadata``."""
    found = {}
    for query in queries:
        given: Any = query.fields.get("answers")
        if given is None and isinstance(query.fields.get("metadata"), Mapping):
            given = query.fields["metadata"].get("answers")
        if isinstance(given, (list, tuple)) and given:
            found[query.id] = tuple(str(one) for one in given)
    return found


def answer_recall(
    run: Run,
    answers: Answers,
    passages: Iterable[Passage],
    cutoffs: Sequence[int] = ANSWER_CUTOFFS,
    *,
    match: Match = "string",
) -> Measured:
    """``answer_recall@k`` of a run, question by question.

    The passages are read once, as a stream; of the run the top ``max(cutoffs)`` of each question count.

    Args:
        run: query id -> passage id -> score. A question that it lacks counts 0.
        answers: of the questions that are measured; others of the run are left out and counted.
        passages: the collection's, in any order.
        cutoffs: each ``k``, at least 1.
        match: whether an answer is words or a regular expression. What is no valid expression is found
            nowhere (``broken_patterns``).

    Raises:
        EvaluationError: no question has answers, the run has none of them, a cutoff below 1, a NaN score,
            or a passage of the run that is not in the collection.
    """
    if not cutoffs or min(cutoffs) < 1:
        raise EvaluationError(f"answer recall at {list(cutoffs)}: choose cutoffs of at least 1")
    query_ids = tuple(sorted(answers))
    if not query_ids:
        raise EvaluationError("answer recall: no question has answers; give a file of answers")
    judged = {query: scores for query, scores in run.items() if query in answers}
    if run and not judged:
        raise EvaluationError(
            f"none of the run's {len(run)} questions has answers (the first is {next(iter(run))!r}, the "
            f"first with answers is {query_ids[0]!r}); give the answers of the same questions"
        )
    row = {query: number for number, query in enumerate(query_ids)}
    wanted: dict[str, list[tuple[int, int]]] = {}
    for query, scores in judged.items():
        for rank, found in enumerate(ranked(scores, query)[: max(cutoffs)], 1):
            wanted.setdefault(found, []).append((row[query], rank))
    prepare, holds = (_joined, _holds) if match == "string" else (_plain, _found)
    as_asked = _joined if match == "string" else compile_pattern
    strings: list[list[Any]] = [[as_asked(answer) for answer in answers[query]] for query in query_ids]
    best = np.full(len(query_ids), np.inf)
    for passage in passages:
        places = wanted.pop(passage.id, ())
        text = prepare(passage.text) if places else ""
        for number, rank in places:
            if rank < best[number] and holds(text, strings[number]):
                best[number] = rank
    if wanted:
        lost, places = next(iter(wanted.items()))
        raise EvaluationError(
            f"passage {lost!r}, found for query {query_ids[places[0][0]]!r}, is not in the collection "
            f"({len(wanted)} of the run are not); give the collection that was searched"
        )
    return Measured(
        query_ids=query_ids,
        values={f"answer_recall@{k}": (best <= k).astype(np.float64) for k in cutoffs},
        missing=sum(not judged.get(query) for query in query_ids),
        unjudged=len(run) - len(judged),
    )
