"""Texts in batches: sorted by length, padded, under a token budget; and what encoding them gives."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

CPU_TOKEN_BUDGET = 1024
"""Tokens per micro-batch on a processor, so few that its activations stay in cache."""
GPU_TOKEN_BUDGET = 65536
ENOUGH_TOKENS = 4096
"""Tokens that keep a GPU busy; a smaller group is not cut to avoid padding."""
PADDING = 0.05
"""Share of a large group that may be padding."""

LONE_TOKENS = 64
"""Up to so many tokens are encoded on one thread. A second thread saves 3 ms when alone, and costs 14 ms,
with pauses of 100 ms, where threads of other libraries (BLAS, the index) wait on the same two cores."""


@dataclass(slots=True)
class Encoded:
    """Both readings of N texts.

    Attributes:
        dense: ``(N, D)`` float32; a dot product is the model's score.
        tokens: N matrices ``(L_i, d)`` float32 with rows of length one; empty when not asked for.
        token_ids: N arrays ``(L_i,)`` of the vocabulary ids behind the rows of ``tokens``.
        truncated: how many texts were longer than the model reads.
    """

    dense: NDArray[np.float32]
    tokens: list[NDArray[np.float32]] = field(default_factory=list)
    token_ids: list[NDArray[np.int32]] = field(default_factory=list)
    truncated: int = 0


@dataclass(slots=True)
class Tokenized:
    """Texts as ids, special tokens included, cut to the limit of their task."""

    ids: list[list[int]]
    truncated: int
    prompt_length: int | None


def micro_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Group texts of similar length, longest first, at most ``budget`` padded tokens (or one text) a group.

    A group that is large enough ends where too much of it would be padding: of a step's 80 passages, together
    within a GPU's budget, four tokens of ten would be.

    Args:
        lengths: in tokens, of each text.
        budget: padded tokens of a group.
    """
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    start = 0
    while start < len(order):
        longest = lengths[order[start]]
        stop = min(len(order), start + max(1, budget // max(1, longest)))
        if budget > ENOUGH_TOKENS:
            stop = _before_padding(order, lengths, start, stop)
        yield order[start:stop]
        start = stop


def _before_padding(order: Sequence[int], lengths: Sequence[int], start: int, stop: int) -> int:
    """The last end of the group from ``start`` at which at most ``PADDING`` of it is padding."""
    longest, tokens = lengths[order[start]], 0
    for place in range(start, stop):
        tokens += lengths[order[place]]
        padded = longest * (place + 1 - start)
        if padded >= ENOUGH_TOKENS and padded - tokens > PADDING * padded:
            return max(place, start + 1)
    return stop


def padded_ids(ids: Sequence[Sequence[int]], pad: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids ``(B, L)``, padded on the right to the longest text, and their mask of ones and zeros."""
    longest = max(map(len, ids))
    matrix = np.full((len(ids), longest), pad, dtype=np.int64)
    mask = np.zeros((len(ids), longest), dtype=np.int64)
    for row, text in enumerate(ids):
        matrix[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return matrix, mask


def late_mask(
    ids: NDArray[np.int64],
    attention: NDArray[np.int64],
    special: NDArray[np.int64],
    prompt_length: int | None,
) -> NDArray[np.bool_]:
    """Which tokens take part in late interaction ``(B, L)``: no padding, special tokens or prompt.

    A text of special tokens alone keeps them: a row without tokens would have no score at all.

    Args:
        ids: ``(B, L)``, padded on either side.
        attention: ``(B, L)``, 1 where a text is.
        special: ids of the special tokens.
        prompt_length: tokens of the prompt, from a text's first one.
    """
    there = attention.astype(bool)
    mask = there & ~np.isin(ids, special)
    if prompt_length is not None:
        mask &= attention.cumsum(axis=1) > prompt_length
    return np.where(mask.any(axis=1, keepdims=True), mask, there)
