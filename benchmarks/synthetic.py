"""Vectors at any number that lie like real ones: embeddings drawn again and again, plus noise.

A smoothed bootstrap (Silverman & Young 1987): ``mean + sqrt(1 - s^2) (x - mean) + s g``, where ``x`` is a
real embedding drawn at random and ``g`` is Gaussian with the embeddings' own covariance; then made of length
one. So the cloud keeps the mean and the covariance of the real one, and noise adds no dimensions that the
data do not use. ``s`` is the only free number; ``fitted`` sets it by the relative contrast (He et al. 2012)
that questions see.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

BLOCK = 8192
"""Vectors made together; block i is always the same."""
STEPS = 8
"""Halvings of the interval of ``s``: to 1 part in 256."""


class Cloud:
    """Unit vectors without end, in blocks."""

    def __init__(self, real: Vectors, noise: float, seed: int = 0) -> None:
        """Around ``real (N, D)``, with ``noise`` of 0 to 1 (s above)."""
        self.real, self.noise, self.seed = real, noise, seed
        self._mean = real.mean(axis=0)
        values, axes = np.linalg.eigh(np.cov((real - self._mean).T.astype(np.float64)))
        self._root = (axes * np.sqrt(np.maximum(values, 0))).T.astype(np.float32)

    def block(self, number: int, count: int = BLOCK) -> Vectors:
        """The first ``count`` vectors of block ``number``: ``(count, D)``."""
        random = np.random.default_rng([self.seed, number])
        drawn = self.real[random.integers(0, len(self.real), BLOCK)]
        gaussian = random.standard_normal((BLOCK, self.real.shape[1]), dtype=np.float32) @ self._root
        rows = self._mean + np.sqrt(1 - self.noise**2) * (drawn - self._mean) + self.noise * gaussian
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows[:count].astype(np.float32)

    def blocks(self, count: int) -> Iterator[Vectors]:
        """The first ``count`` vectors, a block at a time."""
        for number, start in enumerate(range(0, count, BLOCK)):
            yield self.block(number, min(BLOCK, count - start))


def contrast(questions: Vectors, blocks: Iterator[Vectors]) -> float:
    """Nearest over mean distance of passages from a question, the mean over ``questions (Q, D)``."""
    nearest, total, count = np.full(len(questions), np.inf), np.zeros(len(questions)), 0
    for block in blocks:
        distances = np.sqrt(np.maximum(2 - 2 * (questions @ block.T), 0))  # of unit vectors
        nearest = np.minimum(nearest, distances.min(axis=1))
        total += distances.sum(axis=1)
        count += len(block)
    return float((nearest / (total / count)).mean())


def fitted(real: Vectors, questions: Vectors, count: int, seed: int = 0) -> tuple[Cloud, dict[str, float]]:
    """A cloud of which ``count`` vectors have the real ones' contrast.

    Contrast falls slowly with the number of vectors, about 4 % for four times as many; so ``count`` is best
    the geometric mean of the sizes that are measured.
    """
    wanted = contrast(questions, iter([real]))
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        # More noise leads away from the questions: the nearest passage is further off.
        if contrast(questions, Cloud(real, middle, seed).blocks(count)) < wanted:
            low = middle
        else:
            high = middle
    cloud = Cloud(real, (low + high) / 2, seed)
    return cloud, {"noise": cloud.noise, "contrast_real": wanted}
