"""Scalar quantization of residuals: a few buckets a dimension, with limits and values."""

import numpy as np
from numpy.typing import NDArray

FIT_STEPS = 10
"""Lloyd steps from the quantiles. For a normal distribution and four buckets they lower the squared error by
a sixth."""


def fit_buckets(
    residuals: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Limits ``(count - 1, d)`` and values ``(count, d)`` of the buckets for ``residuals (N, d)``."""
    cutoffs = np.quantile(residuals, np.arange(1, count) / count, axis=0).astype(np.float32)
    weights = _bucket_means(residuals, cutoffs)
    for _ in range(FIT_STEPS):
        cutoffs = np.float32(0.5) * (weights[1:] + weights[:-1])
        weights = _bucket_means(residuals, cutoffs)
    return cutoffs, weights


def find_buckets(residuals: NDArray[np.float32], cutoffs: NDArray[np.float32]) -> NDArray[np.uint8]:
    """For each value of ``(N, d)`` its bucket: how many of its dimension's cutoffs it passes."""
    found = np.zeros(residuals.shape, np.uint8)
    for cutoff in cutoffs:
        found += residuals > cutoff
    return found


def _bucket_means(residuals: NDArray[np.float32], cutoffs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean ``(count, d)`` of what falls into each bucket; of an empty one, its lower limit."""
    buckets = find_buckets(residuals, cutoffs)
    means = np.empty((len(cutoffs) + 1, residuals.shape[1]), np.float32)
    for bucket in range(len(means)):
        inside = buckets == bucket
        count, empty = inside.sum(axis=0), cutoffs[max(bucket - 1, 0)]
        sums = np.where(inside, residuals, 0).sum(axis=0, dtype=np.float64)
        means[bucket] = np.where(count > 0, sums / np.maximum(count, 1), empty)
    return means
