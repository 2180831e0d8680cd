"""How far a mean over questions can be trusted: the percentile bootstrap."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ernie_search.errors import EvaluationError

RESAMPLES = 2_000
"""Resamples of an interval; for percentile intervals Efron & Tibshirani (1993) ask for 1,000 or more."""
LEVEL = 0.95
CHUNK_CELLS = 2_000_000
"""Numbers held at once while resampling (16 MB of 8-byte numbers), whatever the number of questions."""


class Interval(NamedTuple):
    """The two ends of an interval, in the unit of the values."""

    low: float
    high: float


def checked(values: NDArray[np.float64], what: str) -> NDArray[np.float64]:
    """``values`` as a float64 vector (N,), or an EvaluationError if it is empty or not finite."""
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or vector.size == 0:
        raise EvaluationError(f"{what}: needs one value a question, got an array of shape {vector.shape}")
    if not np.isfinite(vector).all():
        raise EvaluationError(
            f"{what}: the value of question {int(np.argmin(np.isfinite(vector)))} is not finite"
        )
    return vector


def bootstrap_interval(
    values: NDArray[np.float64], *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Percentile bootstrap interval of the mean of ``values``.

    Questions are drawn with replacement; the interval holds the central ``level`` of the means drawn
    (Efron & Tibshirani 1993, chapter 13). The same seed gives the same interval, however large the
    chunks in which it is computed.

    Args:
        values: (N,), one value a question.
        level: share of the resampled means inside, between 0 and 1.
        resamples: how many means are drawn, at least 1.
        seed: of the drawing.

    Raises:
        EvaluationError: ``values`` is empty or not finite, or a setting is out of its range.
    """
    vector = checked(values, "bootstrap interval")
    if not 0 < level < 1 or resamples < 1:
        raise EvaluationError(
            f"bootstrap interval: level {level} and resamples {resamples}; choose a level between 0 and 1 "
            "and at least 1 resample"
        )
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK_CELLS // vector.size)
    means = np.empty(resamples)
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        drawn = generator.integers(0, vector.size, (stop - start, vector.size))
        means[start:stop] = vector[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))
