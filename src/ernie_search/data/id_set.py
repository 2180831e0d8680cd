"""A set of strings in 12 to 24 bytes each, which finds duplicate and dangling ids in large collections."""

from array import array
from collections.abc import Iterable

import numpy as np

FULL = 0.7
"""Share of the slots in use above which the table doubles."""
FIRST = 1 << 10
"""Slots of an empty set; a power of two, so that a mask finds the slot."""
BITS = (1 << 64) - 1


def hashed(text: str) -> int:
    """64 bits of a string, never 0, which marks an empty slot."""
    return (hash(text) & BITS) or 1


class IdSet:
    """The strings that were seen, kept as 64-bit hashes in one flat table (open addressing).

    A Python set of 21 million ids takes over 2 GB; this takes 270 MB. The price: two different strings are
    taken for one with probability ``n * n / 2**65``, which is 1 in 80,000 for these 21 million together.
    """

    def __init__(self, items: Iterable[str] = ()) -> None:
        self._slots = array("Q", bytes(8 * FIRST))
        self._count = 0
        for item in items:
            self.add(item)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, item: str) -> bool:
        slots, value = self._slots, hashed(item)
        return slots[self._slot(slots, value)] == value

    def add(self, item: str) -> bool:
        """Add a string; True if it is new."""
        slots, value = self._slots, hashed(item)
        slot = self._slot(slots, value)
        if slots[slot]:
            return False
        slots[slot] = value
        self._count += 1
        if self._count > FULL * len(slots):
            self._grow()
        return True

    def common(self, other: "IdSet") -> int:
        """The number of strings that are in both sets."""
        mine, theirs = (np.frombuffer(one._slots, dtype=np.uint64) for one in (self, other))
        return int(np.intersect1d(mine[mine != 0], theirs[theirs != 0], assume_unique=True).size)

    @staticmethod
    def _slot(slots: "array[int]", value: int) -> int:
        """The slot where the value is, or would be put."""
        mask = len(slots) - 1
        place = value & mask
        while slots[place] and slots[place] != value:
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        larger = array("Q", [0]) * (2 * len(self._slots))
        for value in self._slots:
            if value:
                larger[self._slot(larger, value)] = value
        self._slots = larger
