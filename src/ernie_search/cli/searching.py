"""What commands search and re-rank with: an index in the mode that was named or suits it, a cross-encoder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ernie_search.cli.defaults import DEFAULT_INDEX
from ernie_search.cli.output import console, loading
from ernie_search.errors import SettingsError

if TYPE_CHECKING:
    from ernie_search.search import Fusion, Mode, Searcher
    from ernie_search.teacher import Teachers

QuestionPrecision = Annotated[
    Literal["fp32", "int8", "auto"],
    typer.Option(help="Of the questions' ONNX graph; auto takes 8 bits where their measured loss is small."),
]

DEFAULT_MODE = "hybrid, or what the index can do without words"
"""What the options' help says of the mode where none is named."""

ModeOption = Annotated[
    Literal["words", "dense", "late", "hybrid", "cross"] | None,
    typer.Option(
        help="words: BM25 alone, without a model; dense: single vectors alone; late: their best re-ranked by "
        "late interaction; hybrid: all of these together; cross: the best are read by a cross-encoder.",
        show_default=DEFAULT_MODE,
    ),
]

FusionOption = Annotated[
    str | None,
    typer.Option(
        help="For hybrid: absolute (a weighted sum of cosine, late interaction and BM25's share), "
        "absolute:dense=0.5,late=1,bm25=0.2, rrf, or weights of stretched scores: dense=0.3,bm25=0.7.",
        show_default="as 'tune' found, else absolute",
    ),
]

TokenWeightsOption = Annotated[
    Literal["even", "root", "idf"] | None,
    typer.Option(
        help="How much each of the question's tokens counts in late interaction: all the same, or by how "
        "rare it is (the root of its idf, or its idf).",
        show_default="root; even for a model of late interaction alone",
    ),
]


def parse_fusion(text: str | None) -> "Fusion | None":
    """What ``--fusion`` names; None where it is left to the index.

    Raises:
        SettingsError: see ``Fusion``.
    """
    from ernie_search.search import Fusion

    return None if text is None else Fusion.parse(text)


def check_cross(mode: "Mode | None", cross: str | None) -> None:
    """Refuse a cross-encoder without its mode, which would not be asked, and the mode without one.

    Raises:
        SettingsError: one of the two is given alone.
    """
    if (mode == "cross") != (cross is not None):
        raise SettingsError(
            "--mode cross and --cross NAME go together: the mode reads with the cross-encoder of that name"
        )


NEAREST_INDEX = f"{DEFAULT_INDEX} here, or the nearest above"
"""What the options' help says of the index where none is named."""


def nearest_index() -> str | None:
    """The folder ``.ernie-search`` of this folder, or of the nearest above it that has one."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / DEFAULT_INDEX).is_dir():
            return DEFAULT_INDEX if folder == here else str(folder / DEFAULT_INDEX)
    return None


def named_index(index: str | None) -> str:
    """The index as named, else the nearest one.

    Raises:
        SettingsError: none is named, and there is none here or above.
    """
    found = index or nearest_index()
    if found is None:
        raise SettingsError(
            f"no index was named, and there is no {DEFAULT_INDEX} in this folder or above; make one with: "
            "ernie-search index FOLDER"
        )
    return found


def open_searcher(
    index: str | Path,
    model: str | Path | None,
    mode: "Mode | None",
    cross: str | None = None,
    *,
    precision: Literal["fp32", "int8", "auto"] = "fp32",
    verify: bool = True,
) -> "tuple[Searcher, Mode]":
    """The searcher, and the mode to search in; a line on stderr where the index cannot do the usual one.

    Args:
        index: a folder or an address.
        model: the index's model, if it was moved.
        mode: as the user named it; None for the best that the index can do.
        cross: for mode cross, as ``open_teachers`` takes it.
        verify: compare the SHA-256 of every file; else only sizes.
        precision: of the questions' ONNX graph; see ``open_encoder``.

    Raises:
        SettingsError, IndexStateError, ModelError: see ``Searcher.open``. A named mode that the index has no
            means for is refused before its model is loaded.
    """
    with loading("the index and its model"):
        from ernie_search.search import Searcher, best_mode

        teachers = None if cross is None else _teachers(cross)
        scorer = None if teachers is None else teachers.mean_scores
        searcher = Searcher.open(index, model, cross=scorer, mode=mode, verify=verify, precision=precision)
        if not verify:
            searcher.index.check_files()
        if teachers is not None:
            _ = teachers.all
    if searcher.note:
        console(stderr=True).print(f"note: {searcher.note}", soft_wrap=True)
    if mode is not None:
        return searcher, mode
    best = best_mode(searcher.index)
    if best != "hybrid":
        note = f"note: {index} cannot search by words, so it is searched in mode {best}"
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
