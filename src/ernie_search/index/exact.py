"""Exact search in one matrix: a question scores the same alone as among others, ties are by place.

BLAS rounds products of other shapes differently, so its scores only rule out: every passage that rounding
could have kept from the ``k`` best is scored again by itself, in fp64. So a lone question is a product with
one vector, several times as fast as one padded to the shape of a batch, and gets the same list.
"""

import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search.index.codecs import INT8_MAX
from ernie_search.index.topk import Ranking, top_rows

QUERY_BLOCK = 64
"""Questions a matrix product at most: over 1,000,000 passages their scores take 256 MB."""


def longest(dense: NDArray[np.float32]) -> float:
    """The greatest length of the ``(n, D)`` vectors; 0 where there are none."""
    return float(np.sqrt(np.einsum("nd,nd->n", dense, dense, dtype=np.float64).max(initial=0.0)))


def best_rows(
    dense: NDArray[np.float32],
    vectors: NDArray[np.float32],
    k: int,
    length: float,
    rows: NDArray[np.int64] | None = None,
    floors: NDArray[np.float32] | None = None,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The rows of the ``k`` best vectors and their scores, for one question after the other.

    Args:
        dense: ``(n, D)``.
        vectors: ``(Q, D)``, of the questions.
        k: how many; all if there are fewer.
        length: of the longest in ``dense``, see :func:`longest`.
        rows: the only ones to choose from, rising; ``None`` for all.
        floors: ``(Q,)`` scores below which nothing is wanted: what does not come near them costs little.

    Yields:
        ``(min(k, n),)`` rows, or fewer with floors, best first and those that score alike in their order, and
        their scores.
    """
    # An inner product of D terms is off by at most D roundings of both lengths (Higham 2002, 3.1).
    bound = 2 * dense.shape[1] * float(np.finfo(np.float32).eps) * length
    for start in range(0, len(vectors), QUERY_BLOCK):
        block = vectors[start : start + QUERY_BLOCK]
        products = _products(dense, block)
        for number, (vector, rough) in enumerate(zip(block, products, strict=True), start):
            found, slack = rows, bound * float(np.linalg.norm(vector))
            if floors is not None:
                near = np.flatnonzero((rough if found is None else rough[found]) >= floors[number] - slack)
                found = near if found is None else found[near]
            held = rough if found is None else rough[found]
            if k < len(held):
                least = np.partition(held, len(held) - k)[len(held) - k]
                near = np.flatnonzero(held >= least - slack)
                found = near if found is None else found[near]
            elif found is None:
                found = np.arange(len(held))
            order, scores = ranked(dense[found], vector, k)
            yield found[order], scores


def _products(dense: NDArray[np.float32], block: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(Q, n)`` rough scores, by torch where the process has it loaded.

    Encoder and late interaction run on torch's threads. If numpy's BLAS had threads of its own in between,
    both would wait for the same cores: a question after a pause of 3 ms took 61 ms in place of 17.
    """
    torch = sys.modules.get("torch")
    if torch is None or not dense.flags.writeable:  # torch warns of memory that it must not write to
        return (dense @ block[0])[None] if len(block) == 1 else block @ dense.T
    matrix, asked = torch.from_numpy(dense), torch.from_numpy(np.array(block))
    products: NDArray[np.float32] = (
        (matrix @ asked[0])[None].numpy() if len(block) == 1 else (asked @ matrix.T).numpy()
    )
    return products


def ranked(
    candidates: NDArray[np.float32], vector: NDArray[np.float32], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Places of the ``k`` best of ``(m, D)`` full vectors for one ``(D,)``, and their scores.

    Those that are alike stay in their order.
    """
    scores = inner_products(candidates, vector)
    order = top_rows(scores, k)
    return order, scores[order]


def inner_products(dense: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(m,)`` scores of ``(m, D)`` full vectors for one ``(D,)``, added up in fp64 and rounded once."""
    # einsum adds up each row alone: equal vectors get equal scores, whatever stands beside them.
    products = np.einsum("nd,d->n", dense.astype(np.float64), vector.astype(np.float64))
    scores: NDArray[np.float32] = products.astype(np.float32)
    return scores


class ExactVectors:
    """n vectors in memory, in the order of their ids."""

    def __init__(self, ids: Sequence[str], dense: NDArray[np.float32]) -> None:
        """Take ``ids`` and their ``(n, D)`` vectors in any order."""
        order = sorted(range(len(ids)), key=ids.__getitem__)
        self.ids = [ids[row] for row in order]
        self.dense: NDArray[np.float32] = np.ascontiguousarray(dense[order], dtype=np.float32)
        self.place = {one: row for row, one in enumerate(self.ids)}
        self._longest = longest(self.dense)

    def nearest(
        self, vectors: NDArray[np.float32], k: int, allowed: Sequence[str] | None = None
    ) -> list[Ranking]:
        """The ``k`` best for each of the ``(Q, D)`` vectors, of all or of the ids in ``allowed``."""
        rows: NDArray[np.int64] | None = None
        if allowed is not None:
            rows = np.sort(np.asarray([self.place[one] for one in allowed], dtype=np.int64))
        return [
            Ranking([self.ids[row] for row in places.tolist()], scores)
            for places, scores in best_rows(self.dense, vectors, k, self._longest, rows)
        ]


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
