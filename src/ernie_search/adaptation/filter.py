"""Which questions are worth learning from: those whose own passage search finds, and finds alone."""

import hashlib
from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from ernie_search._util.words import words
from ernie_search.adaptation.questions import Question, known
from ernie_search.data.near_duplicates import near_duplicate_pairs
from ernie_search.search import Searcher
from ernie_search.types import Hit

Reason = Literal["dangling", "repeated", "ambiguous", "not found"]
"""Why a question is dropped. ``dangling``: its passage is not in the collection; ``repeated``: nearly the
words of an earlier question; ``ambiguous``: other passages answer it as well, or a question of another
passage has the same words; ``not found``: its passage is not among the first hits."""

REASONS: tuple[Reason, ...] = ("dangling", "repeated", "ambiguous", "not found")

DEPTH = 20
"""First hits among which a question's own passage must be."""
EQUALS = 3
"""Other hits with all of a question's words from which several passages answer it equally."""
BLOCK = 256
"""Questions that are searched together."""
CACHED = 20_000
"""Passages whose words are remembered."""


Search = Callable[[Sequence[str]], list[list[Hit]]]
"""Questions to the first hits of each, best first."""


@dataclass
class Filtered:
    """What a filter kept, and what it dropped.

    Attributes:
        kept: in their order.
        dropped: reason -> kind -> questions.
        ranks: of the kept questions' own passages, by question id, from 1; 0 for a person's own question
            whose passage is not among the first.
    """

    kept: list[Question] = field(default_factory=list)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)

    def drop(self, question: Question, reason: Reason) -> None:
        """Count a question that is left out."""
        self.dropped.setdefault(reason, Counter())[question.kind] += 1

    def total(self, reason: Reason) -> int:
        """Questions dropped for a reason."""
        return sum(self.dropped.get(reason, {}).values())


def filter_questions(
    questions: Sequence[Question],
    search: Search,
    *,
    ids: Container[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Filtered:
    """Drop questions that teach nothing, or something wrong.

    A person's own questions stay, whatever search makes of them, unless their passage is gone.

    Args:
        questions: of any kinds, with ids that differ.
        search: the first hits of each question, best first; see ``hybrid``.
        ids: of the collection's passages, to find questions of passages that are gone; None where all are
            known to be there.
        progress: called with the number of questions searched since its last call.
    """
    found = Filtered()
    there = list(questions)
    if ids is not None:
        there, dangling = known(questions, ids)
        for one in dangling.questions:
            found.drop(one, "dangling")
    single = without_repeats(there, found)
    for start in range(0, len(single), BLOCK):
        block = single[start : start + BLOCK]
        for one, verdict in zip(block, judged(block, search), strict=True):
            keep(found, one, verdict)
        if progress is not None:
            progress(len(block))
    return found


Verdict = tuple[int, bool]
"""Rank of a question's own passage, 0 where it is not among the first hits, and whether others answer it
as well."""


def judged(questions: Sequence[Question], search: Search) -> list[Verdict]:
    """What the first hits of each question say of it."""
    hits = search([one.text for one in questions])
    return [verdict_of(one, some) for one, some in zip(questions, hits, strict=True)]


def keep(found: Filtered, question: Question, verdict: Verdict) -> None:
    """Keep a question, or count why not."""
    rank, ambiguous = verdict
    if question.kind != "own" and ambiguous:
        found.drop(question, "ambiguous")
    elif question.kind != "own" and not rank:
        found.drop(question, "not found")
    else:
        found.kept.append(question)
        found.ranks[question.id] = rank


def verdict_of(question: Question, hits: Sequence[Hit]) -> Verdict:
    """The rank of a question's own passage, and whether other hits answer it as well.

    They do where one has the passage's very words, or several have all words of the question.
    """
    rank = next((n for n, hit in enumerate(hits, 1) if question.passage in (hit.passage, hit.parent)), 0)
    asked = frozenset(words(question.text))
    if not rank:
        return 0, sum(asked <= _word_set(hit) for hit in hits) >= EQUALS
    own = hits[rank - 1]
    others = [hit for hit in hits if question.passage not in (hit.passage, hit.parent)]
    same = _digest(own.text)
    if any(_digest(hit.text) == same for hit in others):
        return rank, True
    return rank, sum(asked <= _word_set(hit) for hit in others) >= EQUALS


def hybrid(searcher: Searcher, depth: int = DEPTH) -> Search:
    """The first hits as users get them: in the default mode, which is hybrid where the index can do that.

    Pieces of documents count as themselves.
    """

    def search(texts: Sequence[str]) -> list[list[Hit]]:
        return searcher.search_many(texts, depth, by_parent=False)

    return search


def without_repeats(questions: Sequence[Question], found: Filtered) -> list[Question]:
    """The questions without near-duplicates, of which the first is kept, and those of several passages.

    Where questions of different passages have the same words, none of them says which passage is meant.
    """
    forms = [_form(one) for one in questions]
    passages: dict[str, set[str]] = {}
    for one, form in zip(questions, forms, strict=True):
        passages.setdefault(form, set()).add(one.passage)
    near = {later for _, later in near_duplicate_pairs(forms)}
    seen: set[str] = set()
    kept = []
    for number, (one, form) in enumerate(zip(questions, forms, strict=True)):
        if one.kind == "own":
            kept.append(one)
        elif len(passages[form]) > 1:
            found.drop(one, "ambiguous")
        elif form in seen or number in near:
            found.drop(one, "repeated")
        else:
            kept.append(one)
        seen.add(form)
    return kept


def _form(question: Question) -> str:
    """A question by which near ones are found: its words, of keywords in a fixed order."""
    found = words(question.text)
    return " ".join(sorted(set(found)) if question.kind == "keywords" else found)


@lru_cache(maxsize=CACHED)
def _words_of(title: str, text: str) -> frozenset[str]:
    return frozenset(words(f"{title} {text}"))


def _word_set(hit: Hit) -> frozenset[str]:
    return _words_of(hit.title, hit.text)


@lru_cache(maxsize=CACHED)
def _digest(text: str) -> bytes:
    return hashlib.blake2b(" ".join(words(text)).encode(errors="surrogatepass"), digest_size=16).digest()
