"""Open an index for a command that searches: in the mode that was named, or the best that the index can."""

from pathlib import Path
from typing import TYPE_CHECKING

from ernie_search.cli.output import console
from ernie_search.cli.quiet import loading

if TYPE_CHECKING:
    from ernie_search.search import Mode, Searcher

DEFAULT_MODE = "late, or dense where the index has no token matrices"
"""What the options' help says of the mode where none is named."""


def open_searcher(
    index: str | Path, model: Path | None, mode: "Mode | None", cross: str | None = None
) -> "tuple[Searcher, Mode]":
    """The searcher, and the mode to search in; a line on stderr where the index cannot do the usual one.

    Args:
        index: a folder or a store's address.
        model: the index's model, if it was moved.
        mode: as the user named it; None for the best that the index can do.
        cross: where the cross-encoder of mode cross is.

    Raises:
        SettingsError, IndexStateError, ModelError: see ``Searcher.open``. A named mode that the index has no
            means for is refused before its model is loaded.
    """
    with loading("the index and its model"):
        from ernie_search.search import Searcher, SearchSettings, best_mode

        searcher = Searcher.open(index, model, cross=cross, mode=mode)
    if mode is not None:
        return searcher, mode
    best = best_mode(searcher.index)
    if best != SearchSettings().mode:
        note = f"note: {index} holds no token matrices, so it is searched in mode {best}"
        console(stderr=True).print(note, soft_wrap=True)
    return searcher, best
