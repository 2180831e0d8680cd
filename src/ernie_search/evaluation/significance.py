"""Is one run better than another? A paired randomisation test, intervals, Holm's correction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ernie_search.errors import EvaluationError
from ernie_search.evaluation.measures import CHUNK_CELLS, Measured, bootstrap_interval, checked

PERMUTATIONS = 10_000
"""Sign flips of a test: the smallest p it can report is 1 / 10,001."""
EXACT_UP_TO = 12
"""Up to so many differing questions all 2^N sign flips are counted instead of drawn."""
ROUNDING = 1e-12
"""Two sums of the same numbers, added in another order, differ by less than this share of their size."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Run A against run B in one measure, question by question.

    Attributes:
        measure: its name.
        difference: mean of A minus mean of B: above 0, A is better.
        low, high: 95 % bootstrap interval of the difference.
        p: two-sided p of the paired randomisation test.
        wins, losses, ties: questions on which A is better, worse, equal.
    """

    measure: str
    difference: float
    low: float
    high: float
    p: float
    wins: int
    losses: int
    ties: int


def randomisation_test(
    differences: NDArray[np.float64], *, permutations: int = PERMUTATIONS, seed: int = 0
) -> float:
    """Two-sided p of a paired randomisation (sign-flip) test of the mean difference.

    If the two systems were alike, each difference could as well have the other sign. p is the share of
    sign flips whose mean is at least as far from 0 as the one observed: counted over all of them for up
    to 12 differing questions, else (1 + count) / (1 + permutations), which is never 0 (Phipson & Smyth
    2010). As a test for retrieval: Smucker, Allan & Carterette, CIKM 2007.

    Args:
        differences: (N,), one a question.
        permutations: sign flips drawn, at least 1.
        seed: of the drawing.

    Raises:
        EvaluationError: ``differences`` is empty or not finite, or ``permutations`` below 1.
    """
    vector = checked(differences, "randomisation test")
    if permutations < 1:
        raise EvaluationError(f"randomisation test: {permutations} permutations; choose at least 1")
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


def _flipped_sums(patterns: NDArray[np.uint64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums (R,) of ``vector`` (N,): value i keeps its sign where bit i of the row of ``patterns`` is 1."""
    octets = patterns.astype("<u8").view(np.uint8)
    bits = np.unpackbits(octets, axis=1, count=vector.size, bitorder="little")
    return np.asarray(2 * (bits @ vector) - vector.sum(), dtype=np.float64)


def compare(a: Measured, b: Measured, measure: str, *, seed: int = 0) -> Comparison:
    """Compare two runs that were measured on the same questions.

    Raises:
        EvaluationError: the questions differ, or one of the two lacks the measure.
    """
    if a.query_ids != b.query_ids:
        one_sided = sorted(set(a.query_ids) ^ set(b.query_ids))
        raise EvaluationError(
            f"the two runs were measured on different questions ({len(a.query_ids)} and {len(b.query_ids)}; "
            f"{one_sided[0]!r} is only in one); measure both with the same qrels"
        )
    differences = a.of(measure) - b.of(measure)
    interval = bootstrap_interval(differences, seed=seed)
    return Comparison(
        measure=measure,
        difference=float(differences.mean()),
        low=interval.low,
        high=interval.high,
        p=randomisation_test(differences, seed=seed),
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        ties=int((differences == 0).sum()),
    )


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
