"""Several rankings of one question made one: by ranks, or by scores with weights tuned on a dev split."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.files import did_you_mean
from ernie_search.errors import DataError, SettingsError
from ernie_search.index import Ranking, reciprocal_rank
from ernie_search.index.topk import top_rows
from ernie_search.types import Run

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
    def of_dense(cls, ranking: Ranking) -> "Staged":
        """The first stage's ranking as it is."""
        scores = ranking.scores.astype(np.float64)
        return cls(ranking.ids, ranking.ids, scores, {"dense": scores})

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


FusionKind = Literal["rrf", "weighted"]

STAGES = ("dense", "bm25", "late")
"""What weights may be given to."""

EVEN: Mapping[str, float] = MappingProxyType({"dense": 0.5, "bm25": 0.5})
"""Weights of those who have tuned none."""

FLOORS = {"bm25": 0.0}
"""Scores that say "nothing in common". Where a stage has none, the lowest in the list stands for it."""

STEP = 0.1
"""Between the weights that tuning tries: 11 pairs or 66 triples. A dev split of some hundred questions cannot
tell finer ones apart."""


@dataclass(frozen=True, slots=True)
class Fusion:
    """How BM25's and the dense ranking become one, and whether late interaction joins them.

    Attributes:
        kind: ``rrf``: the sum of ``1 / (60 + rank)`` (Cormack et al. 2009). ``weighted``: the weighted sum of
            scores, each stretched from 0 to 1 over the question's list (the convex combination of Bruch et
            al. 2023); a passage that a stage did not list gets 0 from it.
        weights: for ``weighted``: of "dense" and "bm25"; with "late" as well (0 counts), re-ranking orders by
            the sum of all three, otherwise by late interaction alone.

    Raises:
        SettingsError: an unknown kind, an unknown stage, or weights that are negative, not finite, or all 0.
    """

    kind: FusionKind = "rrf"
    weights: Mapping[str, float] = field(default_factory=lambda: EVEN)

    def __post_init__(self) -> None:
        if self.kind not in get_args(FusionKind):
            raise SettingsError(
                f"fusion {self.kind!r}: unknown{did_you_mean(self.kind, get_args(FusionKind))}"
            )
        for name, weight in self.weights.items():
            if name not in STAGES:
                raise SettingsError(f"fusion weight of {name!r}: unknown{did_you_mean(name, STAGES)}")
            if not (np.isfinite(weight) and weight >= 0):
                raise SettingsError(f"fusion weight of {name} is {weight}; choose 0 or more")
        if not any(self.weights.get(name, 0.0) for name in ("dense", "bm25")):
            raise SettingsError(
                f"fusion weights {dict(self.weights)}: dense or bm25 must count for something"
            )

    @classmethod
    def parse(cls, text: str) -> "Fusion":
        """From ``rrf``, or from weights as in ``dense=0.3,bm25=0.7``.

        Raises:
            SettingsError: it is neither, or see above.
        """
        if "=" not in text:
            return cls(text)  # type: ignore[arg-type]
        weights: dict[str, float] = {}
        for part in text.split(","):
            name, _, value = part.partition("=")
            try:
                weights[name.strip()] = float(value)
            except ValueError:
                raise SettingsError(
                    f"fusion {text!r}: {part.strip()!r} is no weight; write dense=0.3,bm25=0.7"
                ) from None
        return cls("weighted", weights)

    @property
    def with_late(self) -> bool:
        """Whether re-ranking orders by all three."""
        return self.kind == "weighted" and "late" in self.weights


def fuse(rankings: Mapping[str, Ranking], fusion: Fusion) -> Staged:
    """All passages of the rankings of one question, best first; equal ones in the order of their ids.

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
        fused = weighted(stages, fusion.weights)
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


def tune_weights(
    candidates: Mapping[str, Staged], measure: Callable[[Run], float], *, step: float = STEP
) -> dict[str, float]:
    """The weights of the stages that rank a dev split best; among equal ones the most even.

    Every split of 1 among the stages in multiples of ``step`` is tried.

    Args:
        candidates: question id -> its candidates with what each stage scored, all of the same stages; "fused"
            is left out.
        measure: of a run, higher is better: ``lambda run: evaluate_run(qrels, run).mean("MRR@10")``.
        step: between the weights tried; 1 must be a multiple of it.

    Raises:
        DataError: no question, or fewer than two stages to weigh.
        SettingsError: a step that 1 is no multiple of.
    """
    names = [name for name in STAGES if any(name in one.stages for one in candidates.values())]
    if len(names) < 2:
        raise DataError(f"{len(candidates)} questions with stages {names}: tuning needs two stages or more")
    parts = round(1 / step) if step > 0 else 0
    if parts < 1 or abs(parts * step - 1) > 1e-6:
        raise SettingsError(f"step={step}: choose one that goes into 1, such as 0.1")
    ready = {
        query: (one.ids, {name: stretched(name, one.stages[name]) for name in names if name in one.stages})
        for query, one in candidates.items()
    }
    best: tuple[float, float] | None = None
    chosen: dict[str, float] = {}
    for shares in _splits(len(names), parts):
        weights = {name: share / parts for name, share in zip(names, shares, strict=True)}
        if not any(weights.get(name) for name in ("dense", "bm25")):
            continue  # late interaction needs candidates of somebody
        value = measure({query: _ranked(ids, scores, weights) for query, (ids, scores) in ready.items()})
        key = (value, -sum(weight**2 for weight in weights.values()))
        if best is None or key > best:
            best, chosen = key, weights
    return chosen


def _ranked(
    ids: Sequence[str], stages: Mapping[str, NDArray[np.float64]], weights: Mapping[str, float]
) -> dict[str, float]:
    scores = np.sum([weights[name] * values for name, values in stages.items()], axis=0)
    order = top_rows(scores, len(ids))
    return {ids[row]: float(scores[row]) for row in order.tolist()}


def _splits(count: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Every way to share ``parts`` among ``count``."""
    if count == 1:
        yield (parts,)
        return
    for first in range(parts + 1):
        for rest in _splits(count - 1, parts - first):
            yield (first, *rest)
