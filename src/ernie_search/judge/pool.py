"""What is judged of each question: the first hits of one system, or of two, side by side and blind."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from ernie_search.search import Mode, Searcher
from ernie_search.types import Query

BLOCK = 32
"""Questions that are searched together, so that the count moves."""


@dataclass(frozen=True, slots=True)
class System:
    """What is judged: an index in one mode.

    Attributes:
        name: for the verdict; the page never shows it.
        searcher, mode: what searches.
    """

    name: str
    searcher: Searcher
    mode: Mode


@dataclass(frozen=True, slots=True)
class Shown:
    """A hit as it is shown: no score and no field, by which a system could be told."""

    id: str
    title: str
    text: str

    def as_json(self) -> dict[str, str]:
        """Plain values."""
        return {"id": self.id, "title": self.title, "text": self.text}


@dataclass(frozen=True, slots=True)
class PooledQuestion:
    """A question and the hits to be judged.

    Attributes:
        query: the question.
        lists: each system's hits, best first, in the order of the systems.
        swapped: whether the first system stands on the right.
    """

    query: Query
    lists: tuple[tuple[Shown, ...], ...]
    swapped: bool

    @property
    def columns(self) -> tuple[tuple[Shown, ...], ...]:
        """The lists from left to right."""
        return self.lists[::-1] if self.swapped else self.lists

    @property
    def order(self) -> list[str]:
        """Ids in the order in which they are judged: row by row, a hit of both lists once."""
        return list(dict.fromkeys(one.id for one in chain(*zip_longest(*self.columns)) if one is not None))

    def system_at(self, side: str) -> int:
        """The number of the system that stands ``left`` or ``right``."""
        return int((side == "right") != self.swapped)

    def as_json(self) -> dict[str, Any]:
        """Plain values, as ``from_json`` reads them."""
        lists = [[one.as_json() for one in hits] for hits in self.lists]
        return {"_id": self.query.id, "text": self.query.text, "swapped": self.swapped, "lists": lists}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "PooledQuestion":
        """What ``as_json`` gave; KeyError, TypeError or ValueError for anything else."""
        lists = tuple(
            tuple(Shown(one["id"], one["title"], one["text"]) for one in hits) for hits in row["lists"]
        )
        return cls(Query(row["_id"], row["text"]), lists, bool(row["swapped"]))


def is_swapped(query_id: str, seed: int) -> bool:
    """Whether the first system stands on the right: as likely as not, by the question's id and the seed."""
    return random.Random(f"{seed}\t{query_id}").random() < 0.5


def pool_questions(
    systems: Sequence[System],
    queries: Sequence[Query],
    *,
    k: int,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> Iterator[PooledQuestion]:
    """Search every question with every system.

    Args:
        systems: one, or two to be compared.
        queries: to be searched.
        k: hits of each.
        seed: of who stands on which side.
        progress: called with the number of questions done since its last call.

    Raises:
        SettingsError, DataError, IndexStateError: see ``Searcher.search_many``.
    """
    for start in range(0, len(queries), BLOCK):
        block = queries[start : start + BLOCK]
        found = [
            one.searcher.search_many([query.text for query in block], k, mode=one.mode) for one in systems
        ]
        for place, query in enumerate(block):
            lists = tuple(tuple(Shown(hit.id, hit.title, hit.text) for hit in one[place]) for one in found)
            yield PooledQuestion(query, lists, len(systems) > 1 and is_swapped(query.id, seed))
        if progress is not None:
            progress(len(block))
