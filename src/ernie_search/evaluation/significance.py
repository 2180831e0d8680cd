"""Intervals and tests of paired values, by question or by cluster: bootstrap, randomisation, Holm."""

from collections.abc import Hashable, Sequence
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
        raise EvaluationError(f"{what}: needs one value per question, got an array of shape {vector.shape}")
    if not np.isfinite(vector).all():
        raise EvaluationError(
            f"{what}: the value of question {int(np.argmin(np.isfinite(vector)))} is not finite"
        )
    return vector


def cluster_codes(clusters: Sequence[Hashable], values: NDArray[np.float64], what: str) -> NDArray[np.int64]:
    """The cluster of each value as a number (N,), counted from 0 in the order of first appearance.

    Raises:
        EvaluationError: not one cluster per value, or only one cluster.
    """
    if len(clusters) != values.size:
        raise EvaluationError(
            f"{what}: {values.size} values and {len(clusters)} clusters; name the cluster of each value"
        )
    numbers: dict[Hashable, int] = {}
    codes = np.array([numbers.setdefault(one, len(numbers)) for one in clusters], dtype=np.int64)
    if len(numbers) < 2:
        raise EvaluationError(
            f"{what}: all {values.size} questions are in one cluster, so nothing is known of how clusters "
            "vary; choose smaller clusters"
        )
    return codes


def bootstrap_interval(
    values: NDArray[np.float64],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
    clusters: Sequence[Hashable] | None = None,
) -> Interval:
    """Percentile bootstrap interval of the mean of ``values``.

    Questions are drawn with replacement; the interval holds the central ``level`` of the means drawn
    (Efron & Tibshirani 1993, chapter 13). The same seed gives the same interval, however large the
    chunks in which it is computed.

    Values of one cluster (the questions about one passage, say) may depend on each other. Given
    ``clusters``, whole clusters are drawn with replacement, as many as there are, and each mean is over the
    questions drawn: the ratio of two sums, since clusters differ in size (the cluster bootstrap of
    Field & Welsh 2007; the pairs cluster bootstrap of Cameron, Gelbach & Miller 2008). Few clusters, some
    30 or less, make it too narrow.

    Args:
        values: (N,), one value per question.
        level: share of the resampled means inside, between 0 and 1.
        resamples: how many means are drawn, at least 1.
        seed: of the drawing.
        clusters: (N,), the cluster of each value; ``None``: each value is one of its own.

    Raises:
        EvaluationError: ``values`` is empty or not finite, a setting is out of its range, or there are not
            as many ``clusters``, or only one.
    """
    vector = checked(values, "bootstrap interval")
    if not 0 < level < 1 or resamples < 1:
        raise EvaluationError(
            f"bootstrap interval: level {level} and resamples {resamples}; choose a level between 0 and 1 "
            "and at least 1 resample"
        )
    generator = np.random.default_rng(seed)
    sizes: NDArray[np.int64] | None = None
    if clusters is not None:
        codes = cluster_codes(clusters, vector, "bootstrap interval")
        sizes = np.bincount(codes)
        vector = np.asarray(np.bincount(codes, weights=vector), dtype=np.float64)
    rows = max(1, CHUNK_CELLS // vector.size)
    means = np.empty(resamples)
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        drawn = generator.integers(0, vector.size, (stop - start, vector.size))
        if sizes is None:
            means[start:stop] = vector[drawn].mean(axis=1)
        else:
            means[start:stop] = vector[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


PERMUTATIONS = 10_000
"""Sign flips of a test: the smallest p it can report is 1 / 10,001."""
EXACT_UP_TO = 12
"""Up to so many differing questions, or clusters, all 2^N sign flips are counted instead of drawn."""
ROUNDING = 1e-12
"""Two sums of the same numbers, added in another order, differ by less than this share of their size."""


def randomisation_test(
    differences: NDArray[np.float64],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    clusters: Sequence[Hashable] | None = None,
) -> float:
    """Two-sided p of a paired randomisation (sign-flip) test of the mean difference.

    If the two systems were alike, each difference could as well have the other sign. p is the share of
    sign flips whose mean is at least as far from 0 as the one observed: counted over all of them for up
    to 12 differing questions, else (1 + count) / (1 + permutations), which is never 0 (Phipson & Smyth
    2010). As a test for retrieval: Smucker, Allan & Carterette, CIKM 2007.

    Given ``clusters``, the differences of a cluster change their signs together, so that they may depend on
    each other (Cameron, Gelbach & Miller 2008 flip residuals by cluster for the same reason; Canay, Romano &
    Shaikh 2017 show when such a test holds). What is said of questions then holds of clusters.

    Args:
        differences: (N,), one per question.
        permutations: sign flips drawn, at least 1.
        seed: of the drawing.
        clusters: (N,), the cluster of each difference; ``None``: each is one of its own.

    Raises:
        EvaluationError: ``differences`` is empty or not finite, ``permutations`` below 1, or there are not
            as many ``clusters``, or only one.
    """
    vector = checked(differences, "randomisation test")
    if permutations < 1:
        raise EvaluationError(f"randomisation test: {permutations} permutations; choose at least 1")
    if clusters is not None:
        vector = _cluster_sums(vector, cluster_codes(clusters, vector, "randomisation test"))
    vector = vector[vector != 0]  # a zero stays a zero under either sign
    if vector.size == 0:
        return 1.0
    threshold = abs(vector.sum()) - ROUNDING * np.abs(vector).sum()
    if vector.size <= EXACT_UP_TO:
        patterns = np.arange(2**vector.size, dtype=np.uint64)[:, None]
        return float((np.abs(_flipped_sums(patterns, vector)) >= threshold).mean())
    generator = np.random.default_rng(seed)
    words = -(-vector.size // 64)
    rows = max(1, CHUNK_CELLS // vector.size)
    count = 0
    for start in range(0, permutations, rows):
        size = (min(start + rows, permutations) - start, words)
        # whole 64-bit words, so that the draws don't depend on the size of the chunk
        patterns = generator.integers(0, 2**64, size, dtype=np.uint64)
        count += int((np.abs(_flipped_sums(patterns, vector)) >= threshold).sum())
    return (1 + count) / (1 + permutations)


def _cluster_sums(vector: NDArray[np.float64], codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sums (C,) of a vector (N,) by cluster; one that is 0 but for rounding is 0."""
    sums = np.bincount(codes, weights=vector)
    sizes = np.bincount(codes, weights=np.abs(vector))
    return np.where(np.abs(sums) <= ROUNDING * sizes, 0.0, sums)


def _flipped_sums(patterns: NDArray[np.uint64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums (R,) of ``vector`` (N,): value i keeps its sign where bit i of the row of ``patterns`` is 1."""
    octets = patterns.astype("<u8").view(np.uint8)
    bits = np.unpackbits(octets, axis=1, count=vector.size, bitorder="little")
    return np.asarray(2 * (bits @ vector) - vector.sum(), dtype=np.float64)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given: at most alpha where Holm's procedure rejects at level alpha.

    Of m hypotheses the smallest p is multiplied by m, the next by m - 1, and so on; none may fall below
    the one before it, and none exceeds 1 (Holm 1979, "A simple sequentially rejective multiple test
    procedure"). The probability of even one false difference among all m stays below alpha, whatever
    the dependence between the tests.

    Raises:
        EvaluationError: a value that is no probability.
    """
    for value in p_values:
        if not 0 <= value <= 1:
            raise EvaluationError(f"Holm's correction: {value} is no p value; give values between 0 and 1")
    adjusted = [0.0] * len(p_values)
    before = 0.0
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    for done, place in enumerate(order):
        before = max(before, min(1.0, (len(p_values) - done) * p_values[place]))
        adjusted[place] = before
    return adjusted
