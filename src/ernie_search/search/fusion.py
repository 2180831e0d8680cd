"""Several readings of one question made one ranking: by scores on absolute scales, stretched, or by ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.files import did_you_mean
from ernie_search.errors import SettingsError
from ernie_search.index import Ranking, reciprocal_rank
from ernie_search.index.topk import top_rows

RERANK_GAP = 1.0
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
    def of(cls, name: str, ranking: Ranking) -> "Staged":
        """One stage's ranking as it is."""
        scores = ranking.scores.astype(np.float64)
        return cls(ranking.ids, ranking.ids, scores, {name: scores})

    def reranked(self, scores: NDArray[np.float64], **looked: NDArray[np.float64]) -> "Staged":
        """The first results in the order of new scores, the others behind them in the order they had.

        Scores fall along the list: the rest keeps its distances from one another, ``RERANK_GAP`` below the
        last re-ranked one, so that recall at any depth can be measured. Equal new scores keep
        their old order.

        Args:
            scores: ``(c,)`` of the first c results.
            **looked: what stages scored for them, ``(c,)`` each.
        """
        count = len(scores)
        order = np.concatenate([top_rows(scores, count), np.arange(count, len(self.ids))])
        joined = self.scores.copy()
        joined[:count] = scores
        if 0 < count < len(joined):
            joined[count:] += scores.min() - RERANK_GAP - joined[count]
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


FusionKind = Literal["absolute", "rrf", "weighted"]

HEAVIEST = 1_000_000
"""The largest weight; only their ratios count, and sums of larger ones are infinite at some point."""

STAGES = ("dense", "bm25", "late")
"""What weights may be given to."""

EVEN: Mapping[str, float] = MappingProxyType({"dense": 0.5, "bm25": 0.5})
"""Weights of ``weighted`` for those who have tuned none."""

FLOORS = {"bm25": 0.0}
"""Scores that say "nothing in common". Where a stage has none, the lowest in the list stands for it."""

Situation = Literal["dense_only", "plain", "joint", "late_only"]
"""What can be read of a passage besides its words: a single vector alone; that and the raw token states of
any encoder; that and token vectors that were trained with it; the token vectors of a late-interaction model,
whose mean is the single vector."""

TokenWeights = Literal["even", "root", "idf"]
"""How much each of the question's tokens counts in late interaction: as much as any other, or as the root of
its idf in the collection, or as its idf itself."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a situation is searched with where nobody has tuned anything.

    Attributes:
        weights: of ``absolute``.
        token_weights: see ``TokenWeights``.
    """

    weights: Mapping[str, float]
    token_weights: TokenWeights


_RAW_TOKENS = MappingProxyType({"dense": 0.3, "late": 1.0, "bm25": 0.4})

DEFAULTS: Mapping[Situation, Defaults] = MappingProxyType(
    {
        "dense_only": Defaults(MappingProxyType({"dense": 1.0, "bm25": 1.5}), "even"),
        "plain": Defaults(_RAW_TOKENS, "root"),
        "joint": Defaults(_RAW_TOKENS, "root"),
        "late_only": Defaults(_RAW_TOKENS, "even"),
    }
)
"""Chosen over all labelled collections at hand (covidqa, shifts-amazon, squad, pubmedqa, xquad, api, code)
with an untrained encoder: ``benchmarks/fusion_weights.py``, which says for each collection what the weights
give that were chosen without it. Those of ``joint`` are ``plain``'s, which one small trained model supports;
``late_only`` was not measured, so its tokens count as they were trained to, all the same."""


@dataclass(frozen=True, slots=True)
class Fusion:
    """How words, single vectors and late interaction become one ranking.

    Attributes:
        kind: ``absolute``: the weighted sum of readings that mean the same on every collection: the cosine of
            the single vectors, the mean cosine of late interaction, and the square of BM25 as a share of the
            most that the question could get (see ``readings``); a reading that does not exist is left out of
            the sum.
            ``rrf``: the sum of ``1 / (60 + rank)`` (Cormack et al. 2009), then re-ranked by late interaction.
            ``weighted``: the weighted sum of scores, each stretched from 0 to 1 over the question's list (the
            convex combination of Bruch et al. 2023); a passage that a stage did not list gets 0 from it.
        weights: of "dense", "bm25" and "late". None stands for ``DEFAULTS`` (absolute) or ``EVEN``
            (weighted). ``weighted`` with "late" (0 counts) re-ranks by the sum of all three, otherwise by
            late interaction alone; in ``absolute`` a reading without a weight counts nothing.

    Raises:
        SettingsError: an unknown kind, an unknown stage, or weights that are negative, above ``HEAVIEST``,
            not finite, or all 0.
    """

    kind: FusionKind = "absolute"
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(FusionKind):
            raise SettingsError(
                f"fusion {self.kind!r}: unknown{did_you_mean(self.kind, get_args(FusionKind))}"
            )
        if self.weights is None:
            return
        for name, weight in self.weights.items():
            if name not in STAGES:
                raise SettingsError(f"fusion weight of {name!r}: unknown{did_you_mean(name, STAGES)}")
            if not 0 <= weight <= HEAVIEST:
                raise SettingsError(
                    f"fusion weight of {name} is {weight}; choose 0 or more, at most {HEAVIEST:,}"
                )
        # Late interaction re-ranks what a weighted fusion found; in an absolute one both give candidates.
        needed = STAGES if self.kind == "absolute" else ("dense", "bm25")
        if self.kind != "rrf" and not any(self.weights.get(name, 0.0) for name in needed):
            raise SettingsError(
                f"fusion weights {dict(self.weights)}: {' or '.join(needed)} must count for something"
            )

    @classmethod
    def parse(cls, text: str) -> "Fusion":
        """From ``absolute``, ``rrf``, ``absolute:dense=0.5,late=1,bm25=0.2`` or weights of stretched scores.

        ``dense=0.3,bm25=0.7`` is short for ``weighted:dense=0.3,bm25=0.7``.

        Raises:
            SettingsError: it is none of these, or see above.
        """
        kind, colon, given = text.partition(":")
        if not colon:
            if "=" not in text:
                return cls(text)  # type: ignore[arg-type]
            kind, given = "weighted", text
        if kind == "rrf":
            raise SettingsError(f"fusion {text!r}: reciprocal ranks take no weights; leave them out")
        weights: dict[str, float] = {}
        for part in given.split(","):
            name, _, value = part.partition("=")
            try:
                weights[name.strip()] = float(value)
            except ValueError:
                raise SettingsError(
                    f"fusion {text!r}: {part.strip()!r} is no weight; write dense=0.3,bm25=0.7"
                ) from None
        return cls(kind, weights)  # type: ignore[arg-type]

    def __str__(self) -> str:
        """As ``parse`` reads it."""
        if self.weights is None:
            return self.kind
        return f"{self.kind}:{','.join(f'{name}={float(weight)!r}' for name, weight in self.weights.items())}"

    @property
    def with_late(self) -> bool:
        """Whether late interaction joins the sum; without it, it re-ranks alone."""
        return self.kind == "weighted" and "late" in (self.weights or EVEN)


def fuse(rankings: Mapping[str, Ranking], fusion: Fusion) -> Staged:
    """All passages of the rankings of one question, best first; equal ones in the order of their ids.

    For ``rrf`` and ``weighted``; ``readings.absolute`` needs more than rankings.

    Args:
        rankings: by stage name.
        fusion: how.

    Returns:
        A ranking whose ``stages`` say what each ranking scored, and "fused".
    """
    ids = sorted({one for ranking in rankings.values() for one in ranking.ids})
    place = {one: row for row, one in enumerate(ids)}
    stages: dict[str, NDArray[np.float64]] = {}
    for name, ranking in rankings.items():
        stages[name] = np.full(len(ids), np.nan)
        stages[name][[place[one] for one in ranking.ids]] = ranking.scores
    if fusion.kind == "rrf":
        best = reciprocal_rank(list(rankings.values()), len(ids))
        fused = np.zeros(len(ids))
        fused[[place[one] for one in best.ids]] = best.scores
    else:
        fused = weighted(stages, fusion.weights or EVEN)
    order = top_rows(fused, len(ids))
    return Staged(ids, ids, fused, {**stages, "fused": fused}).take(order)


def weighted(
    stages: Mapping[str, NDArray[np.floating[Any]]], weights: Mapping[str, float]
) -> NDArray[np.float64]:
    """The weighted sum of stretched scores ``(n,)``; the weights are made to sum to 1 first.

    Args:
        stages: ``(n,)`` scores by name, NaN where a stage did not look.
        weights: by name; a stage without one counts nothing.
    """
    total = sum(weights.get(name, 0.0) for name in stages) or 1.0
    count = len(next(iter(stages.values())))
    parts = [weights.get(name, 0.0) / total * stretched(name, scores) for name, scores in stages.items()]
    return np.sum(parts, axis=0) if parts else np.zeros(count)


def stretched(name: str, scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Scores ``(n,)`` from 0 (the stage's floor, and where it did not look) to 1 (the list's best)."""
    found = np.flatnonzero(~np.isnan(scores))
    result = np.zeros(len(scores))
    if len(found) == 0:
        return result
    values = scores[found].astype(np.float64)
    low = min(FLOORS.get(name, np.inf), values.min())
    spread = values.max() - low
    result[found] = (values - low) / spread if spread > 0 else 1.0
    return result
