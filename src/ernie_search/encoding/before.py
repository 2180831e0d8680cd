"""What an index was made with: it stays so where a later call says nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_search.encoding.opening import ChosenPrecision
from ernie_search.errors import IndexStateError
from ernie_search.index.lance_files import is_index, read_commit
from ernie_search.index.opening import lance_folder, on_disk


@dataclass(frozen=True, slots=True)
class Before:
    """What an index on disk was made with: it stays so where a later call says nothing else."""

    spec: Mapping[str, Any]
    origin: Mapping[str, Any]

    def made_with(self) -> dict[str, Any]:
        """Settings that decide how a source is encoded."""
        found = {"tokens": self.spec["tokens"]} if "tokens" in self.spec else {}
        if self.spec.get("projection"):
            found["token_dim"] = self.spec["token_dim"]
        return found

    def cut(self) -> tuple[int | None, int]:
        """Words and overlap of a collection's pieces; ``(None, 0)`` where they are not cut."""
        words, _, overlap = self.origin.get("cut", "").partition("/")
        return (int(words), int(overlap)) if words else (None, 0)

    def precision(self, wanted: ChosenPrecision | None, output: str | Path) -> ChosenPrecision:
        """The precision of its passages; see ``kept_precision``."""
        return kept_precision(self.spec.get("passages_in", "fp32"), wanted, output)


def kept_precision(
    held: ChosenPrecision, wanted: ChosenPrecision | None, output: str | Path
) -> ChosenPrecision:
    """The precision that an index's passages are in, and further ones will be.

    Raises:
        IndexStateError: another one is wanted.
    """
    if wanted not in (None, "auto", held):
        raise IndexStateError(
            f"{output}: made with precision={held!r}, not {wanted!r}; choose another place or that setting"
        )
    return held


def made_before(output: str | Path) -> Before | None:
    """What there is already; None where there is no index in a folder."""
    if not on_disk(output) or not is_index(lance_folder(output)):
        return None
    commit = read_commit(lance_folder(output))
    return Before(commit.spec, commit.origin or {})
