"""Lists that were made before a recipe starts, which its stages read in place of lists of their own."""

from dataclasses import dataclass
from pathlib import Path

from ernie_search.mining import Lists, ListSizes


@dataclass(frozen=True, slots=True)
class GivenLists:
    """A folder of lists from ``mine``, ``score`` or ``denoise``, and how long its lists are."""

    lists: Lists
    sizes: ListSizes

    @property
    def folder(self) -> Path:
        """Where they lie."""
        return self.lists.folder

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the lists and their collection, wherever they lie."""
        return self.lists.fingerprint

    @property
    def text(self) -> str:
        """What they are, for people."""
        scores = "scored" if self.lists.scored else "no scores"
        return f"{len(self.lists):,} lists of {self.sizes.shortest} negatives or more, {scores}"


def open_given(folder: Path) -> GivenLists:
    """Open lists; reads them all, for the shortest.

    Raises:
        StorageError: there are none.
        DataError: they are broken, or were altered since they were written.
    """
    lists = Lists.open(folder)
    return GivenLists(lists, lists.sizes())
