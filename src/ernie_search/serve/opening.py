"""From what the command line names to a searcher: an index's folder or address, or a pointer file."""

from pathlib import Path
from typing import get_args

from ernie_search.encoding.opening import ChosenPrecision, Runtime
from ernie_search.index import open_index
from ernie_search.search import Mode, Searcher
from ernie_search.search.newest import resolve


def usable_modes(searcher: Searcher) -> list[str]:
    """The modes that this index, model and installation can answer, best known first."""
    index = searcher.index
    needs = {
        "words": "bm25" in index.capabilities,
        "dense": True,
        "late": index.has_tokens,
        "hybrid": "bm25" in index.capabilities,
        "cross": searcher.cross is not None,
    }
    return [mode for mode in get_args(Mode) if needs.get(mode, False)]


def open_searcher(
    index: str,
    model: str | Path | None = None,
    *,
    cross: str | None = None,
    mode: Mode | None = None,
    writable: bool = False,
    runtime: Runtime = "auto",
    precision: ChosenPrecision = "fp32",
) -> Searcher:
    """Open an index, and load its model.

    Args:
        index: a folder or an address; see ``resolve`` for pointers.
        model: the model's directory, if it was moved.
        cross: the cross-encoder of mode ``cross``.
        mode: in which it will be searched if a request names none; refused where it is not possible.
        writable: open it for upserts.
        runtime, precision: of the model; see ``open_encoder``.

    Raises:
        SettingsError: ``writable``, but it cannot be written.
        IndexStateError: the index is missing, damaged, or of another model.
        ModelError: a model cannot be loaded.
    """
    target = resolve(index)
    if not writable:
        return Searcher.open(target, model, cross=cross, mode=mode, runtime=runtime, precision=precision)
    found = open_index(target, mode="w")
    try:
        return Searcher.open(found, model, cross=cross, mode=mode, runtime=runtime, precision=precision)
    except BaseException:
        found.close()
        raise
