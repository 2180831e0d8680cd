"""A ranking that remembers what each stage scored, and its reduction from passages to documents."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ernie_search.index import Ranking

SEAM = 1.0
"""How far below the last re-ranked passage the rest begins: wide enough to see in a run file."""


@dataclass(frozen=True, slots=True)
class Staged:
    """n results, best first.

    Attributes:
        ids: what was found: passages, or the documents they are pieces of.
        passages: the passage behind each; the same as ``ids`` where passages are searched.
        scores: ``(n,)`` float64, falling: what the results are ordered by.
        stages: what each stage scored, ``(n,)`` by its name; NaN where a stage did not look.
    """

    ids: list[str]
    passages: list[str]
    scores: NDArray[np.float64]
    stages: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def of_dense(cls, ranking: Ranking) -> "Staged":
        """The first stage's ranking as it is."""
        scores = ranking.scores.astype(np.float64)
        return cls(ranking.ids, ranking.ids, scores, {"dense": scores})

    def reranked(self, scores: NDArray[np.float64], **looked: NDArray[np.float64]) -> "Staged":
        """The first results in the order of new scores, the others behind them in the order they had.

        Scores fall along the list: the rest keeps its distances from one another, ``SEAM`` below the last
        re-ranked one, so that recall at any depth can be measured. Equal new scores keep their old order.

        Args:
            scores: ``(c,)`` of the first c results.
            **looked: what stages scored for them, ``(c,)`` each.
        """
        count = len(scores)
        order = np.concatenate([np.argsort(-scores, kind="stable"), np.arange(count, len(self.ids))])
        joined = self.scores.copy()
        joined[:count] = scores
        if 0 < count < len(joined):
            joined[count:] += scores.min() - SEAM - joined[count]
        rest = np.full(len(joined) - count, np.nan)
        stages = self.stages | {name: np.concatenate([values, rest]) for name, values in looked.items()}
        return Staged(self.ids, self.passages, joined, stages).take(order)

    def take(self, places: Sequence[int] | NDArray[np.int64]) -> "Staged":
        """The results at ``places``, in that order."""
        rows = np.asarray(places, dtype=np.int64)
        return Staged(
            [self.ids[row] for row in rows.tolist()],
            [self.passages[row] for row in rows.tolist()],
            self.scores[rows],
            {name: values[rows] for name, values in self.stages.items()},
        )

    def stages_of(self, place: int) -> dict[str, float]:
        """What the stages scored for one result."""
        return {
            name: float(values[place]) for name, values in self.stages.items() if not np.isnan(values[place])
        }


def best_by_parent(staged: Staged, parents: Sequence[str], k: int) -> Staged:
    """Score each document by its best passage, and keep the ``k`` best documents.

    Args:
        staged: passages, best first; so the first of a document is its best.
        parents: the document of each.
        k: documents to keep; fewer if there are not as many.
    """
    first: dict[str, int] = {}
    for place, parent in enumerate(parents):
        first.setdefault(parent, place)
    kept = dict(islice(first.items(), k))
    best = staged.take(list(kept.values()))
    return Staged(list(kept), best.passages, best.scores, best.stages)
