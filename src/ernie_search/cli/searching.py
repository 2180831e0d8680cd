"""What commands search and re-rank with: an index in the mode that was named or suits it, a cross-encoder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ernie_search.cli.output import console, loading

if TYPE_CHECKING:
    from ernie_search.search import Mode, Searcher
    from ernie_search.teacher import Teachers

QuestionPrecision = Annotated[
    Literal["fp32", "int8", "auto"],
    typer.Option(help="Of the questions' ONNX graph; auto takes 8 bits where their measured loss is small."),
]
DEFAULT_MODE = "late, or dense where the index has no token matrices"
"""What the options' help says of the mode where none is named."""


def open_searcher(
    index: str | Path,
    model: str | Path | None,
    mode: "Mode | None",
    cross: str | None = None,
    *,
    precision: Literal["fp32", "int8", "auto"] = "fp32",
) -> "tuple[Searcher, Mode]":
    """The searcher, and the mode to search in; a line on stderr where the index cannot do the usual one.

    Args:
        index: a folder or an address.
        model: the index's model, if it was moved.
        mode: as the user named it; None for the best that the index can do.
        cross: for mode cross, as ``open_teachers`` takes it.
        precision: of the questions' ONNX graph; see ``open_encoder``.

    Raises:
        SettingsError, IndexStateError, ModelError: see ``Searcher.open``. A named mode that the index has no
            means for is refused before its model is loaded.
    """
    with loading("the index and its model"):
        from ernie_search.search import Searcher, SearchSettings, best_mode

        teachers = None if cross is None else _teachers(cross)
        scorer = None if teachers is None else teachers.mean_scores
        searcher = Searcher.open(index, model, cross=scorer, mode=mode, precision=precision)
        if teachers is not None:
            _ = teachers.all
    if searcher.note:
        console(stderr=True).print(f"note: {searcher.note}", soft_wrap=True)
    if mode is not None:
        return searcher, mode
    best = best_mode(searcher.index)
    if best != SearchSettings().mode:
        note = f"note: {index} holds no token matrices, so it is searched in mode {best}"
        console(stderr=True).print(note, soft_wrap=True)
    return searcher, best


def open_teachers(cross: str) -> "Teachers":
    """A cross-encoder by its directory or hub name, or all of a folder that ``teacher`` made; loaded.

    Raises:
        ModelError: it cannot be loaded, gives several scores for a pair, or is not trained to its end.
    """
    with loading("the cross-encoder"):
        teachers = _teachers(cross)
        _ = teachers.all
    return teachers


def _teachers(cross: str) -> "Teachers":
    from ernie_search.teacher import Teachers

    return Teachers.open(cross)
