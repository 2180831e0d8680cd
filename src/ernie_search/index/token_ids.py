"""Vocabulary ids of a passage's tokens as bytes: two each where the vocabulary allows, else three or four.

How many follows from the length and the number of tokens, so indexes of older versions, with four, are read.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ernie_search.errors import IndexStateError

WIDTHS = (2, 3, 4)
"""Bytes an id: vocabularies of up to 65,536 words, up to 16 million, and any."""


def pack_ids(ids: NDArray[np.int32]) -> bytes:
    """``(L,)`` ids, none negative, in the fewest bytes; little-endian."""
    largest = int(ids.max(initial=0))
    width = next(one for one in WIDTHS if largest < 1 << (8 * one))
    wide = np.ascontiguousarray(ids, "<i4").view(np.uint8).reshape(-1, 4)
    return wide[:, :width].tobytes()


def unpack_ids(raw: bytes, count: int) -> NDArray[np.int32]:
    """The ``count`` ids again.

    Raises:
        IndexStateError: bytes that cannot be so many ids.
    """
    width = id_width(raw, count)
    wide = np.zeros((count, 4), np.uint8)
    if count:
        wide[:, :width] = np.frombuffer(raw, np.uint8).reshape(count, width)
    return wide.view("<i4").reshape(-1).astype(np.int32)


def id_width(raw: bytes, count: int) -> int:
    """Bytes an id, of ``count`` ids in ``raw``.

    Raises:
        IndexStateError: see ``unpack_ids``.
    """
    width = len(raw) // count if count else WIDTHS[0]
    if width not in WIDTHS or len(raw) != width * count:
        raise IndexStateError(f"{len(raw)} bytes are no ids of {count} tokens; verify the index")
    return width


def unpack_many(raws: Sequence[bytes], counts: Sequence[int]) -> NDArray[np.int32]:
    """The ids of many passages, one after the other; ``counts`` are their numbers of tokens.

    Raises:
        IndexStateError: bytes that cannot be so many ids, or not one piece for each count.
    """
    if len(raws) != len(counts):
        raise IndexStateError(f"{len(raws)} passages' token ids for {len(counts)} passages; verify the index")
    widths = [id_width(raw, count) for raw, count in zip(raws, counts, strict=True)]
    if len({width for width, count in zip(widths, counts, strict=True) if count}) <= 1:  # all, mostly
        total = sum(counts)
        return unpack_ids(b"".join(raws), total)
    return np.concatenate([unpack_ids(raw, count) for raw, count in zip(raws, counts, strict=True)])
