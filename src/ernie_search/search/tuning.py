"""Weights for one's own labels: found on a dev split, checked on questions left out, kept with the index."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.files import read_json, remove, storage_errors, write_json
from ernie_search.errors import DataError, ErnieSearchError, IndexStateError, SettingsError
from ernie_search.index import Index
from ernie_search.index.topk import top_rows
from ernie_search.search.fusion import STAGES, Fusion, FusionKind, Staged, TokenWeights, stretched
from ernie_search.types import Run

TUNED_FILE = "fusion.json"
"""Beside the index's own files, and no part of its commits: an update of the passages leaves it as it is."""

FORMAT = 1

STEP = 0.1
"""Between the weights of stretched scores: 11 pairs or 66 triples. A dev split of some hundred questions
cannot tell finer ones apart."""

DENSE = (0.0, 0.25, 0.5, 1.0, 2.0)
WORDS = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0)
"""Weights of an absolute fusion that are tried beside the whole of late interaction; without that, ``WORDS``
beside the whole of the cosine."""

FOLDS = 5
"""Parts of the questions; each is measured under the weights that suit the others best."""


@dataclass(frozen=True, slots=True, eq=False)
class Tuning:
    """The best weights, and what they gain.

    Attributes:
        fusion: with the weights that rank the questions best; among equal ones those nearest to the default.
        default, best: ``(Q,)``, what was measured of each question under the default weights, and under
            these.
        left_out: ``(Q,)``, of each question under the weights that suit the other folds best. So much is to
            be expected of questions that are not here; ``best`` flatters. The default where there is one
            question alone.
        tried: how many weights.
        token_weights: of late interaction, as it was measured.
    """

    fusion: Fusion
    default: NDArray[np.float64]
    best: NDArray[np.float64]
    left_out: NDArray[np.float64]
    tried: int
    token_weights: TokenWeights = "even"

    @property
    def gain(self) -> float:
        """The mean gain over the default on questions left out."""
        return float(np.mean(self.left_out - self.default))


def tune_weights(
    candidates: Mapping[str, Staged],
    measure: Callable[[Run], NDArray[np.float64] | float],
    kind: FusionKind,
    default: Mapping[str, float],
) -> Tuning:
    """Find the weights of the stages that rank a dev split best.

    Args:
        candidates: question id -> its candidates with what each stage scored; of several results of one id
            (a document's pieces) the best counts. "fused" is left out.
        measure: of a run, higher is better, one value a question in an order that stays:
            ``lambda run: evaluate_run(qrels, run).of("MRR@10")``. A single number does, too; then nothing can
            be left out.
        kind: ``absolute`` or ``weighted``.
        default: the weights to be compared with.

    Raises:
        DataError: no question, or fewer than two stages to weigh.
        SettingsError: reciprocal ranks, which have no weights.
    """
    if kind == "rrf":
        raise SettingsError("reciprocal ranks have no weights to tune; tune absolute or weighted")
    names = [name for name in STAGES if any(name in one.stages for one in candidates.values())]
    if len(names) < 2:
        raise DataError(f"{len(candidates)} questions with stages {names}: tuning needs two stages or more")
    ready = {query: _Ready.of(one, kind, names) for query, one in candidates.items()}
    start = {name: float(default.get(name, 0.0)) for name in names}
    tried = [start] + [one for one in _grid(kind, names) if one != start]
    found = np.stack(
        [
            np.atleast_1d(
                np.asarray(measure({query: one.run(weights) for query, one in ready.items()}), np.float64)
            )
            for weights in tried
        ]
    )
    far = np.array([_distance(one, start) for one in tried])
    best = _best(found, far)
    left_out = found[0].copy()
    count = found.shape[1]
    for fold in range(min(FOLDS, count)) if count > 1 else ():
        inside = np.arange(count) % FOLDS == fold
        left_out[inside] = found[_best(found[:, ~inside], far)][inside]
    return Tuning(Fusion(kind, tried[best]), found[0], found[best], left_out, len(tried))


@dataclass(frozen=True, slots=True)
class _Ready:
    """One question's candidates, in the order of equal sums, and their scores ``(n,)`` by stage."""

    ids: list[str]
    scores: dict[str, NDArray[np.float64]]

    @classmethod
    def of(cls, staged: Staged, kind: FusionKind, names: Sequence[str]) -> "_Ready":
        if kind == "absolute":
            looked = np.flatnonzero(~np.isnan(staged.stages["dense"])) if "dense" in staged.stages else ()
            order = sorted(map(int, looked), key=lambda row: staged.passages[row])
            staged = staged.take(order)
            scores = {name: staged.stages[name] for name in names if name in staged.stages}
        else:
            scores = {name: stretched(name, staged.stages[name]) for name in names if name in staged.stages}
        return cls(staged.ids, scores)

    def run(self, weights: Mapping[str, float]) -> dict[str, float]:
        total = np.zeros(len(self.ids))
        for name, scores in self.scores.items():
            total += weights[name] * scores
        ranked: dict[str, float] = {}
        for row in top_rows(total, len(total)).tolist():
            ranked.setdefault(self.ids[row], float(total[row]))
        return ranked


def _grid(kind: FusionKind, names: Sequence[str]) -> Iterator[dict[str, float]]:
    """The weights that are tried."""
    if kind == "weighted":
        parts = round(1 / STEP)
        for shares in _splits(len(names), parts):
            weights = {name: share / parts for name, share in zip(names, shares, strict=True)}
            if weights.get("dense") or weights.get("bm25"):  # late interaction needs candidates of somebody
                yield weights
        return
    single = dict.fromkeys(names, 0.0)
    if "late" in names:
        others = [DENSE if name == "dense" else WORDS for name in names if name != "late"]
        for chosen in product(*others):
            rest = (name for name in names if name != "late")
            yield {**single, **dict(zip(rest, chosen, strict=True)), "late": 1.0}
    if "dense" in names:
        for weight in WORDS if "bm25" in names else (0.0,):
            yield {**single, "dense": 1.0} | ({"bm25": weight} if "bm25" in names else {})
    if "bm25" in names:
        yield {**single, "bm25": 1.0}


def _splits(count: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Every way to share ``parts`` among ``count``."""
    if count == 1:
        yield (parts,)
        return
    for first in range(parts + 1):
        for rest in _splits(count - 1, parts - first):
            yield (first, *rest)


def _best(found: NDArray[np.float64], far: NDArray[np.float64]) -> int:
    """The row of ``found (W, Q)`` with the best mean; among equal ones the nearest to the default."""
    means = found.mean(axis=1)
    equal = np.flatnonzero(means >= means.max() - 1e-12)  # the same sum, added in another order
    return int(equal[np.argmin(far[equal])])


def _distance(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    """Between two weights that are made to sum to 1: only their proportions rank."""
    totals = sum(a.values()) or 1.0, sum(b.values()) or 1.0
    return sum(abs(a[name] / totals[0] - b.get(name, 0.0) / totals[1]) for name in a)


# Kept with the index


@dataclass(frozen=True, slots=True)
class Tuned:
    """What ``ernie-search tune`` left with an index.

    Attributes:
        fusion: the default of its hybrid mode.
        token_weights: those under which it was found.
        about: where and how it was found, for people.
    """

    fusion: Fusion
    token_weights: TokenWeights
    about: Mapping[str, Any] = field(default_factory=dict)


def read_tuned(index: Index) -> Tuned | None:
    """What an index was tuned to; None where nobody did.

    Raises:
        IndexStateError: the file is damaged, or was made for another model.
    """
    path = _file(index)
    if path is None or not path.is_file():
        return None
    again = "remove it with: ernie-search tune INDEX --reset"
    try:
        value = read_json(path)
        if value["format"] != FORMAT or value["token_weights"] not in get_args(TokenWeights):
            raise ValueError
        made_for = value["model_fingerprint"]
        found = Tuned(Fusion.parse(str(value["fusion"])), value["token_weights"], value.get("about", {}))
    except (ErnieSearchError, KeyError, TypeError, ValueError):
        raise IndexStateError(f"{path}: no weights that this version reads; {again}") from None
    if made_for != index.model_fingerprint:
        raise IndexStateError(f"{path}: tuned for model {made_for}, not {index.model_fingerprint}; {again}")
    return found


def write_tuned(index: Index, tuned: Tuned) -> Path:
    """Make it the default of the index's hybrid mode, for every search that opens it from now on.

    Raises:
        SettingsError: the index is not in a folder.
        StorageError: the folder cannot be written.
    """
    path = _file(index)
    if path is None:
        raise SettingsError(
            f"only an index on disk keeps its weights; give them to each search: --fusion {tuned.fusion}"
        )
    with storage_errors(path):
        write_json(
            path,
            {
                "format": FORMAT,
                "model_fingerprint": index.model_fingerprint,
                "fusion": str(tuned.fusion),
                "token_weights": tuned.token_weights,
                "about": dict(tuned.about),
            },
        )
    return path


def reset_tuned(folder: Path) -> bool:
    """Return an index on disk to the default weights; whether it had others."""
    path = folder / TUNED_FILE
    if not path.is_file():
        return False
    with storage_errors(path):
        remove(path)
    return True


def _file(index: Index) -> Path | None:
    return None if index.folder is None else index.folder / TUNED_FILE
