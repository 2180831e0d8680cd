"""What a retriever of any framework asks for, and of whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from ernie_search.index import Filter
from ernie_search.search import Mode
from ernie_search.types import Hit

Condition: TypeAlias = str | Mapping[str, Any] | Filter
"""A filter: text, or field to value or list of values; in this process also a ``Filter``."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a retriever asks for, beside the question.

    Attributes:
        k: hits at most.
        mode: see ``Mode``; None for the store's or the service's own.
        condition: only passages that meet it.
        min_score: only hits that score at least this.
    """

    k: int = 10
    mode: Mode | None = None
    condition: Condition | None = None
    min_score: float | None = None

    def kept(self, hits: Sequence[Hit]) -> list[Hit]:
        """The hits that score enough."""
        return [hit for hit in hits if self.min_score is None or hit.score >= self.min_score]


class Source(Protocol):
    """Where a retriever's hits come from."""

    def search(self, question: str, asked: Asked) -> list[Hit]:
        """The best hits, best first."""

    async def asearch(self, question: str, asked: Asked) -> list[Hit]:
        """Likewise, without holding up the event loop."""
