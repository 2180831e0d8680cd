"""Clusters of questions that depend on each other: those of one passage, or of one title."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ernie_search._util.files import did_you_mean
from ernie_search.errors import EvaluationError
from ernie_search.types import Passage, Qrels

PASSAGE, FIELD, TITLE = "passage", "field:", "title"
FORM = "passage, or field:NAME such as field:title"
"""How clusters are named, for messages."""


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """The cluster of each judged question.

    Attributes:
        by: as it was asked for: ``passage``, or ``field:NAME``.
        of: question id -> the smallest id of a question in its cluster.
    """

    by: str
    of: Mapping[str, str]

    def labels(self, queries: Sequence[str]) -> list[str]:
        """The cluster of each of these questions, in their order.

        Raises:
            EvaluationError: one of them has no judgements, or all are in one cluster.
        """
        unknown = next((query for query in queries if query not in self.of), None)
        if unknown is not None:
            raise EvaluationError(
                f"clusters by {self.by}: question {unknown!r} has no judgement, so its relevant passages are "
                "not known; compare judged questions alone"
            )
        found = [self.of[query] for query in queries]
        if len(set(found)) < 2:
            raise EvaluationError(
                f"clusters by {self.by}: all {len(found):,} questions are in one cluster, so there is "
                "nothing to compare it with; choose smaller clusters, or none"
            )
        return found

    def count(self, queries: Iterable[str]) -> int:
        """How many clusters these questions are of."""
        return len({self.of[query] for query in queries})


def check_cluster(by: str) -> None:
    """Refuse a name that is neither ``passage`` nor ``field:NAME``.

    Raises:
        EvaluationError: it says what can be named.
    """
    if by != PASSAGE and not (by.startswith(FIELD) and by.removeprefix(FIELD).strip()):
        near = did_you_mean(by, [PASSAGE, f"{FIELD}{TITLE}"])
        raise EvaluationError(f"unknown clusters {by!r}{near}; give {FORM}")


def question_clusters(by: str, qrels: Qrels, passages: Callable[[], Iterable[Passage]]) -> Clusters:
    """Clusters of all judged questions.

    Questions that share a relevant passage, or a value of a field of theirs, are in one cluster, and so are
    those that are linked by others: connected components. They are of all judged questions, so that
    leaving some out changes no cluster. A question without a relevant passage is a cluster of its own.

    Args:
        by: ``passage``; or ``field:NAME``: the field of the relevant passages, where ``title`` is their
            title. A passage that lacks the field stands for itself.
        qrels: judgements; relevant is what has a grade above 0.
        passages: gives the collection's, as a stream; not called for ``passage``. A judgement may name the
            document that passages are pieces of.

    Raises:
        EvaluationError: an unknown ``by``, no judgements, or a field that no relevant passage has.
    """
    check_cluster(by)
    if not qrels:
        raise EvaluationError(f"clusters by {by} need judgements, and there are none; give qrels")
    relevant = {
        query: [passage for passage, grade in sorted(grades.items()) if grade > 0]
        for query, grades in sorted(qrels.items())
    }
    if by == PASSAGE:
        return Clusters(by, _components(relevant))
    wanted = {passage for found in relevant.values() for passage in found}
    values = field_values(by.removeprefix(FIELD).strip(), wanted, passages())
    shared = {
        query: [values.get(passage, (PASSAGE, passage)) for passage in found]
        for query, found in relevant.items()
    }
    return Clusters(by, _components(shared))


def field_values(
    name: str, wanted: Collection[str], passages: Iterable[Passage]
) -> dict[str, tuple[str, str]]:
    """The value of a field by passage, with the field's name, for the wanted passages that have it.

    Raises:
        EvaluationError: none of them has the field; it names the nearest that some have.
    """
    found: dict[str, tuple[str, str]] = {}
    known: set[str] = set()
    for passage in passages:
        key = passage.id if passage.id in wanted else passage.parent
        if key is None or key not in wanted or key in found:
            continue
        fields = {name: value for name, value in passage.fields.items() if value not in (None, "")}
        if passage.title:
            fields[TITLE] = passage.title
        known |= fields.keys()
        if name in fields:
            found[key] = name, _written(fields[name])
    if not found:
        has = did_you_mean(name, sorted(known)) if known else "; they have no fields and no titles"
        raise EvaluationError(f"clusters by {FIELD}{name}: no relevant passage has such a field{has}")
    return found


def _written(value: Any) -> str:
    """Equal text for equal values, whatever the order of an object's names."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _components(shared: Mapping[str, Iterable[Any]]) -> dict[str, str]:
    """Connected components of questions that share anything: the smallest question of each."""
    parent = {query: query for query in shared}

    def root(query: str) -> str:
        while parent[query] != query:
            parent[query] = query = parent[parent[query]]
        return query

    first: dict[Any, str] = {}
    for query, things in shared.items():
        for thing in things:
            one, other = root(query), root(first.setdefault(thing, query))
            parent[max(one, other)] = min(one, other)
    return {query: root(query) for query in shared}
