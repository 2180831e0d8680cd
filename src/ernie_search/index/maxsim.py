"""MaxSim over stored tokens: which library multiplies, and the maxima, which all share.

Every product gives the same: whole numbers for int8, so bit for bit; sums of the same fp32 products for fp16
and fp32, so all but the last bits. The question is rounded to the type of the stored tokens first, in all of
them.
"""

import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.files import did_you_mean
from ernie_search.errors import ModelError, SettingsError
from ernie_search.index.codecs import INT8_MAX, int8_scale
from ernie_search.index.stored_tokens import StoredTokens

Kernel = Literal["auto", "numkong", "torch", "numpy"]
"""Who multiplies. ``auto``: for fp32 and fp16 torch where the process has it loaded (numpy's BLAS is slower,
and so is numkong's fp16 where the processor has no product of its own for it); without torch numkong for
fp16, where it is installed; for int8 the fastest of all three here, measured once. Else numpy.

For int8 all are equal bit for bit, so time may decide; fp16 would get other last bits from run to run."""

Product = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
"""``(Lq, d)`` and ``(R, d)`` of one type to their dot products ``(Lq, R)``: float32, or int32 of int8."""

EMPTY_SCORE = -1.0
"""Score of a passage without tokens: the lowest that normalised rows can reach."""

BLOCK_ROWS = 4096
"""Token vectors a product: the results of 32 question tokens (512 KB) stay in the second cache until their
maxima are taken. At 2,000, 4,000 and 10,000 rows (int8, d = 128) the times were within 8 % of one another."""

EXACT_INT8_DIM = (1 << 24) // INT8_MAX**2
"""1040: up to this many dimensions a product of int8 rows is exact in fp32, which numpy multiplies fast."""


def maxsim_scores(
    query: NDArray[np.floating[Any]], stored: StoredTokens, *, kernel: Kernel = "auto"
) -> NDArray[np.float32]:
    """``mean_i max_j <q_i, p_j>`` (ColBERT's MaxSim over the question's length) for n stored passages.

    Args:
        query: ``(Lq, d)``, rows of length one; rounded to the type of the stored tokens.
        stored: n passages' tokens one after the other: float32, float16 or int8 (``TokenCodec.join``).
        kernel: the library that multiplies; for tests and measurements.

    Returns:
        ``(n,)`` float32. A passage without tokens gets ``EMPTY_SCORE``; a question without any gives all 0.

    Raises:
        ModelError: question and passages have another ``d``.
        SettingsError: an unknown kernel, or one that is not installed.
    """
    count = len(stored.offsets) - 1
    multiply = product(kernel, stored.values.dtype)
    if len(query) == 0:
        return np.zeros(count, np.float32)
    scores = np.full(count, EMPTY_SCORE, np.float32)
    filled = np.flatnonzero(np.diff(stored.offsets))
    if len(filled) == 0:
        return scores
    if query.shape[1] != stored.values.shape[1]:
        raise ModelError(
            f"question tokens have {query.shape[1]} dimensions, passage tokens {stored.values.shape[1]}; "
            "use the model that made the index"
        )
    rows, steps = _as_stored(np.asarray(query, np.float32), stored.values.dtype)
    starts, stops = stored.offsets[filled], stored.offsets[filled + 1]
    best = np.empty((len(rows), len(filled)), np.float32)
    for first, last in _blocks(starts, stops):
        begin = starts[first]
        similarity = multiply(rows, stored.values[begin : stops[last - 1]])
        best[:, first:last] = np.maximum.reduceat(similarity, starts[first:last] - begin, axis=1)
    if steps is not None:
        best *= steps[:, None]
    scores[filled] = best.mean(axis=0)
    if stored.scales is not None:
        scores[filled] *= stored.scales[filled]
    return scores


def maxsim(
    query: NDArray[np.floating[Any]], passages: Sequence[NDArray[np.floating[Any]]]
) -> NDArray[np.float32]:
    """``maxsim_scores`` for a list of ``(L_i, d)`` matrices; ``(n,)`` float32."""
    offsets = np.zeros(len(passages) + 1, dtype=np.int64)
    np.cumsum([len(matrix) for matrix in passages], out=offsets[1:])
    filled = [matrix for matrix in passages if len(matrix)]
    values = np.concatenate(filled) if filled else np.zeros((0, query.shape[-1]), dtype=np.float32)
    if values.dtype not in (np.float32, np.float16):
        values = values.astype(np.float32)
    return maxsim_scores(query, StoredTokens(np.ascontiguousarray(values), offsets))


def available() -> list[Kernel]:
    """The kernels that can be named here, "auto" and "numpy" always among them."""
    return [name for name in get_args(Kernel) if name in ("auto", "numpy") or _importable(name)]


def product(kernel: str, dtype: np.dtype[Any]) -> Product:
    """The function that multiplies rows of ``dtype``.

    Raises:
        SettingsError: an unknown kernel, one that is not installed, or a type that is not stored.
    """
    if kernel not in get_args(Kernel):
        raise SettingsError(f"kernel={kernel!r}: unknown{did_you_mean(kernel, get_args(Kernel))}")
    if dtype not in (np.float32, np.float16, np.int8):
        raise SettingsError(f"tokens of type {dtype}: MaxSim takes float32, float16 or int8")
    if kernel == "auto":
        kernel = _automatic(dtype)
    elif kernel not in available():
        raise SettingsError(f"kernel={kernel!r}: not installed; pip install {kernel}, or leave it to 'auto'")
    if kernel == "torch":
        return _torch_int8 if dtype == np.int8 else _torch_float
    if kernel == "numkong" and dtype != np.float32:  # its fp32 sums in fp64: exact, but slower than BLAS
        return _numkong
    return _numpy_int8 if dtype == np.int8 else _numpy_float


def _automatic(dtype: np.dtype[Any]) -> str:
    numkong, torch = _importable("numkong"), sys.modules.get("torch") is not None
    if torch:
        return _fastest_int8() if dtype == np.int8 else "torch"
    return "numkong" if numkong and dtype != np.float32 else "numpy"


@cache
def _fastest_int8() -> str:
    """The fastest exact product of int8 here: torch's needs VNNI, without it it is a plain loop."""
    random = np.random.default_rng(0)
    rows = random.integers(-INT8_MAX, INT8_MAX + 1, (32 + BLOCK_ROWS // 2, 64)).astype(np.int8)
    rows[0], rows[1] = INT8_MAX, -INT8_MAX  # the extremes: a kernel that saturates is wrong there
    query, tokens = rows[:32], np.concatenate([rows[:2], rows[32:]])
    exact = _numpy_int8(query, tokens)
    times = {}
    for name, function in (("numkong", _numkong), ("torch", _torch_int8), ("numpy", _numpy_int8)):
        if not _importable(name):
            continue
        try:
            same = np.array_equal(function(query, tokens), exact)
        except (RuntimeError, AttributeError, TypeError):  # torch's is not part of its stable interface
            continue
        if same:
            times[name] = min(_seconds(function, query, tokens) for _ in range(3))
    return min(times, key=times.__getitem__)


def _seconds(function: Product, query: NDArray[Any], tokens: NDArray[Any]) -> float:
    started = time.perf_counter()
    function(query, tokens)
    return time.perf_counter() - started


@cache
def _importable(name: str) -> bool:
    if name in sys.modules:
        return sys.modules[name] is not None
    return importlib.util.find_spec(name) is not None  # without loading it: torch takes seconds


def _blocks(starts: NDArray[np.int64], stops: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Neighbouring passages, to about ``BLOCK_ROWS`` rows together; a longer one is alone."""
    blocks, first = [], 0
    while first < len(starts):
        last = int(np.searchsorted(stops, starts[first] + BLOCK_ROWS, side="right"))
        last = max(last, first + 1)
        blocks.append((first, last))
        first = last
    return blocks


def _as_stored(
    query: NDArray[np.float32], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """The question's rows in the stored type, and what each row's products are to be multiplied by."""
    if dtype != np.int8:
        return query.astype(dtype), None
    # A step a row here: rows meet only passages, never one another, so each may use the whole range.
    steps = np.array([int8_scale(largest) for largest in np.abs(query).max(axis=1)], np.float32)
    return np.rint(query / steps[:, None]).astype(np.int8), steps


def _numpy_float(query: NDArray[Any], tokens: NDArray[Any]) -> NDArray[Any]:
    left: NDArray[np.float32] = np.asarray(query, np.float32)
    right: NDArray[np.float32] = np.asarray(tokens, np.float32)
    # Passages first: the other way round some BLAS (OpenBLAS on Zen 5) round a row by where it stands.
    return (right @ left.T).T


def _numpy_int8(query: NDArray[Any], tokens: NDArray[Any]) -> NDArray[Any]:
    # numpy has no fast product of whole numbers; in fp32 these are exact, and beyond in fp64.
    wide = np.float32 if query.shape[1] <= EXACT_INT8_DIM else np.float64
    left: NDArray[np.floating[Any]] = query.astype(wide)
    right: NDArray[np.floating[Any]] = tokens.astype(wide)
    return (left @ right.T).astype(np.int32)


def _numkong(query: NDArray[Any], tokens: NDArray[Any]) -> NDArray[Any]:
    import numkong

    # The block is packed, not the question: so the results stand (Lq, R), where the maxima over a passage's
    # tokens run along contiguous memory. That saves more than packing costs.
    return np.asarray(numkong.dots_packed(np.ascontiguousarray(query), numkong.dots_pack(tokens)))


def _torch_float(query: NDArray[Any], tokens: NDArray[Any]) -> NDArray[Any]:
    import torch

    found = torch.from_numpy(query).float() @ torch.from_numpy(tokens).float().T
    return found.numpy()


def _torch_int8(query: NDArray[Any], tokens: NDArray[Any]) -> NDArray[Any]:
    import torch

    if query.shape[1] == 1:  # torch 2.13 takes the strides of a single column for those of a row, and gives 0
        return _numpy_int8(query, tokens)
    found: NDArray[Any] = torch._int_mm(torch.from_numpy(query), torch.from_numpy(tokens).T).numpy()
    return found
