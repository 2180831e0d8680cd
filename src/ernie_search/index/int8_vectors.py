"""Exact search over 8-bit vectors: a quarter of the memory, and the same lists as with the full ones.

A vector x is kept as ``step * codes``; how far that is from x, its miss, is kept too. A score by codes is
then wrong by at most the question's length times the miss (Cauchy-Schwarz), so all but the passages whose
score could still be among the ``k`` best are ruled out, and those few are scored with their full vectors.
"""

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search.index.codecs import INT8_MAX
from ernie_search.index.exact import ranked
from ernie_search.index.protocol import Ranking

Full = Callable[[Sequence[str]], NDArray[np.float32]]
"""The full vectors ``(m, D)`` of passages by id, in the order asked for."""

ROUNDING = 1e-6
"""Of a score, relative to both lengths: more than what fp32 rounds off, less than any miss."""

BLOCK = 4096
"""Vectors that numpy, which has no fast product of whole numbers, makes wide at a time: 6 MB of 384."""

EXACT_DIM = (1 << 24) // INT8_MAX**2
"""Up to so many dimensions a product of codes is exact in fp32, and beyond in fp64."""


class Int8Vectors:
    """n vectors as codes, in the order of their ids; finds what ``ExactVectors`` finds."""

    def __init__(
        self, parts: Iterable[tuple[Sequence[str], NDArray[np.float32]]], dim: int, full: Full
    ) -> None:
        """Take ids and ``(n_i, D)`` vectors, a part at a time, in any order; ``full`` gives some back."""
        ids: list[str] = []
        codes, steps, misses = [np.zeros((0, dim), np.int8)], [np.zeros(0)], [np.zeros(0)]
        for names, dense in parts:
            ids += names
            part, step = quantized(dense)
            codes.append(part)
            steps.append(step)
            misses.append(np.linalg.norm(dense - part * step[:, None], axis=1))
        order = sorted(range(len(ids)), key=ids.__getitem__)
        self.ids = [ids[row] for row in order]
        self.place = {one: row for row, one in enumerate(self.ids)}
        held = np.concatenate(codes)[order]
        self._steps: NDArray[np.float64] = np.concatenate(steps)[order]
        squares = np.einsum("nd,nd->n", held, held, dtype=np.float64)
        self._lengths: NDArray[np.float64] = np.sqrt(squares) * self._steps
        self._errors: NDArray[np.float64] = np.concatenate(misses)[order] + ROUNDING * self._lengths
        self._multiply = multiplier(held)
        self._full = full

    def nearest(
        self, vectors: NDArray[np.float32], k: int, allowed: Sequence[str] | None = None
    ) -> list[Ranking]:
        """The ``k`` best for each of the ``(Q, D)`` vectors, of all or of the ids in ``allowed``."""
        rows = np.arange(len(self.ids))
        if allowed is not None:
            rows = np.sort(np.asarray([self.place[one] for one in allowed], dtype=np.int64))
        return [self._nearest(vector, k, rows) for vector in vectors]

    def candidates(self, vector: NDArray[np.float32], k: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of ``rows`` that may be among the ``k`` best for ``(D,)``; all others cannot be."""
        if len(rows) <= k:
            return rows
        # Two rows of codes for the question, the second of what the first one misses: then all that counts
        # is what the passages' codes miss.
        question = vector.astype(np.float64)
        first, step = quantized(vector[None])
        rest = question - first[0] * step[0]
        second, small = quantized(rest[None])
        left = np.linalg.norm(rest - second[0] * small[0])
        products = self._multiply(np.concatenate([first, second])).astype(np.float64)[:, rows]
        scores = self._steps[rows] * (step[0] * products[0] + small[0] * products[1])
        margins = np.linalg.norm(question) * self._errors[rows] + left * self._lengths[rows]
        lowest = scores - margins
        cut = np.partition(lowest, len(rows) - k)[len(rows) - k]
        return np.asarray(rows[scores + margins >= cut], np.int64)

    def _nearest(self, vector: NDArray[np.float32], k: int, rows: NDArray[np.int64]) -> Ranking:
        found = self.candidates(vector, k, rows)
        names = [self.ids[row] for row in found.tolist()]
        if not names:
            return Ranking([], np.zeros(0, np.float32))
        order, scores = ranked(self._full(names), vector, k)
        return Ranking([names[row] for row in order.tolist()], scores)


def quantized(dense: NDArray[np.floating[Any]]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """``(n, D)`` as whole numbers from -127 to 127, and the step ``(n,)`` of each row; 1 for zero rows."""
    steps = np.abs(dense).max(axis=1, initial=0.0).astype(np.float64) / INT8_MAX
    steps[steps == 0] = 1.0
    return np.rint(dense / steps[:, None]).astype(np.int8), steps


def multiplier(codes: NDArray[np.int8]) -> Callable[[NDArray[np.int8]], NDArray[np.int32]]:
    """What multiplies ``(q, D)`` codes with ``codes (n, D)`` to ``(q, n)``: numkong, or else numpy."""
    if len(codes) and importlib.util.find_spec("numkong") is not None:
        import numkong

        packed = numkong.dots_pack(np.ascontiguousarray(codes))
        return lambda question: np.asarray(
            numkong.dots_packed(np.ascontiguousarray(question), packed), np.int32
        )
    return lambda question: numpy_products(question, codes)


def numpy_products(question: NDArray[np.int8], codes: NDArray[np.int8]) -> NDArray[np.int32]:
    """``(q, D)`` times ``(n, D)``, exactly."""
    wide = np.dtype(np.float32 if codes.shape[1] <= EXACT_DIM else np.float64)
    found = np.zeros((len(question), len(codes)), np.int32)
    for start in range(0, len(codes), BLOCK):
        block: NDArray[np.floating[Any]] = codes[start : start + BLOCK].astype(wide)
        rows: NDArray[np.floating[Any]] = question.astype(wide)
        found[:, start : start + len(block)] = rows @ block.T
    return found
