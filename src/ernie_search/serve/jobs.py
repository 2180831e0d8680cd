"""What a request asks of the engine, and what it gets back."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ernie_search.index import Filter
from ernie_search.serve.prepared import Row
from ernie_search.types import Hit, Task


@dataclass(frozen=True, slots=True)
class Plan:
    """How to search; questions of one plan are ranked together."""

    mode: str
    k: int
    candidates: int
    where: Filter | None = None


@dataclass(frozen=True, slots=True)
class EncodeJob:
    """Texts of one request to encode together.

    Attributes:
        texts, task, tokens: see ``Encoder.encode_joint``.
        then: what is asked of the index, where the one text is a question for it.
        explain: see ``RankJob``.
    """

    texts: tuple[str, ...]
    task: Task
    tokens: bool
    then: Plan | None = None
    explain: bool = False


@dataclass(frozen=True, slots=True)
class RankJob:
    """A question whose vectors are there. An empty question is a search by vector alone."""

    plan: Plan
    row: Row
    question: str = ""
    explain: bool = False


@dataclass(frozen=True, slots=True)
class WriteJob:
    """A change of the store, without its commit: those that wait together are committed together."""

    work: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Chore:
    """Work on the index that no client asked for, between requests; it takes no place in the queue."""

    work: Callable[[], object]


@dataclass(slots=True)
class Answer:
    """Hits, why they were found, and where the time went.

    Attributes:
        hits: best first.
        matches: words of each hit; see ``explain``; empty unless asked for.
        question_tokens: see ``explain.question_tokens``.
        milliseconds: by stage.
    """

    hits: list[Hit]
    matches: list[list[dict[str, Any]]] = field(default_factory=list)
    question_tokens: list[dict[str, Any]] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)
