"""Accuracy of a teacher and its components on lists: a teacher that ranks badly has little to teach."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ernie_search.mining.lists import Lists
from ernie_search.teacher.sums import WORDS


@dataclass(slots=True)
class Accuracy:
    """How a component ranks lists, in sums over them.

    Attributes:
        lists: judged ones: with a score of a positive and of a negative.
        first: of these, those whose best positive is above all negatives.
        reciprocal: sum of 1 / rank of the best positive among the negatives.
        lacking: lists that could not be judged, as they lack such scores.
    """

    lists: int = 0
    first: int = 0
    reciprocal: float = 0.0
    lacking: int = 0

    def add(self, rank: int | None) -> None:
        """Add a list by its :func:`positive_rank`."""
        if rank is None:
            self.lacking += 1
            return
        self.lists += 1
        self.first += rank == 1
        self.reciprocal += 1 / rank

    @property
    def positive_first(self) -> float:
        """Share of the judged lists whose best positive is above all negatives."""
        return round(self.first / max(1, self.lists), 4)

    @property
    def mrr(self) -> float:
        """Mean reciprocal rank of the best positive."""
        return round(self.reciprocal / max(1, self.lists), 4)

    def as_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {"positive_first": self.positive_first, "mrr": self.mrr, "lists": self.lists}


def positive_rank(positives: Sequence[float], negatives: Sequence[float]) -> int | None:
    """Rank of the best positive among the negatives, from 1; an equal score of a negative counts against it.

    Passages without a score (NaN) are left out; ``None`` where then no positive or no negative is left.
    """
    ours = [score for score in positives if not math.isnan(score)]
    theirs = [score for score in negatives if not math.isnan(score)]
    if not ours or not theirs:
        return None
    best = max(ours)
    return 1 + sum(score >= best for score in theirs)


def accuracy_advice(scored: Lists) -> str | None:
    """One line of advice where a component ranks the lists worse than BM25; ``None`` otherwise.

    Only where BM25 is a component itself; with weight 0 it is there for this comparison alone.
    """
    found = scored.manifest["scores"].get("components", {})
    words = found.get(WORDS)
    if words is None:
        return None
    worse = [
        f"{name} (mean reciprocal rank {one['mrr']:.3f})"
        for name, one in found.items()
        if name != WORDS and one["lists"] and one["mrr"] < words["mrr"]
    ]
    if not worse:
        return None
    return (
        f"{' and '.join(worse)} ranks these lists worse than BM25 ({words['mrr']:.3f}); lists that a model "
        "mined are hard for such a model; judge it by re-ranking before it teaches: ernie-search score-tune"
    )
