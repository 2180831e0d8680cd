"""Ids to row addresses in 16 bytes a passage, and whether an id was seen in 8."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def hashes(ids: Sequence[str]) -> NDArray[np.int64]:
    """64-bit hashes of ids: of this process alone, as Python salts them."""
    return np.fromiter(map(hash, ids), dtype=np.int64, count=len(ids))


class IdMap:
    """Where each id's row is. Ids of one hash are all found; the caller keeps the row that has the id."""

    def __init__(self, keys: NDArray[np.int64], rows: NDArray[np.uint64]) -> None:
        """From ``(n,)`` hashes and row addresses."""
        order = np.argsort(keys, kind="stable")
        self._keys, self._rows = keys[order], rows[order]

    def rows(self, ids: Sequence[str]) -> list[int]:
        """Addresses of the rows that may have these ids, without repetition."""
        wanted = np.unique(hashes(ids))
        first = np.searchsorted(self._keys, wanted, "left")
        last = np.searchsorted(self._keys, wanted, "right")
        places = [np.arange(start, stop) for start, stop in zip(first, last, strict=True) if stop > start]
        return self._rows[np.concatenate(places)].tolist() if places else []


class Seen:
    """Hashes of all ids so far, in a few sorted arrays that double in size: adding n costs n log n in all."""

    def __init__(self) -> None:
        """None yet."""
        self._runs: list[NDArray[np.int64]] = []

    def add(self, ids: Sequence[str]) -> None:
        """These are there now; again is no harm."""
        if not ids:
            return
        self._runs.append(np.sort(hashes(ids)))
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]), kind="stable")

    def any_of(self, ids: Sequence[str]) -> bool:
        """Whether one of them may have been added: yes for sure where it was, hardly ever where not."""
        keys = hashes(ids)
        for run in self._runs:
            places = np.minimum(np.searchsorted(run, keys), len(run) - 1)
            if (run[places] == keys).any():
                return True
        return False
