"""The run that ``evaluate`` makes: of an index, or of another run's best passages by a cross-encoder."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from ernie_search.cli.output import progress
from ernie_search.errors import SettingsError

if TYPE_CHECKING:
    from ernie_search.data import Collection
    from ernie_search.search import Mode, Searcher
    from ernie_search.teacher import Teachers
    from ernie_search.types import Query, Run


def check_choice(
    index: str | None, run: Path | None, save_run: Path | None, mode: "Mode | None", cross: str | None
) -> None:
    """Refuse options that do not go together, before anything is read.

    Raises:
        SettingsError: neither or both of an index and a run; a cross-encoder without its mode, or the mode
            without it; a mode that searches, for a run; a run to be saved that is given already.
    """
    if (index is None) == (run is None):
        raise SettingsError(
            "evaluate needs one of --index DIR and --run FILE; see: ernie-search evaluate --help"
        )
    if (mode == "cross") != (cross is not None):
        raise SettingsError(
            "--mode cross and --cross NAME go together: the mode reads with the cross-encoder of that name"
        )
    if index is None and mode not in (None, "cross"):
        raise SettingsError(
            f"--mode {mode} searches an index, and --run is ranked already; leave it out, or give --index"
        )
    if save_run is not None and index is None and cross is None:
        raise SettingsError(
            "--save-run writes the run of an index, or what a cross-encoder made of --run; name one of them "
            "with --index, or --mode cross and --cross"
        )


def search_index(
    searcher: "Searcher", mode: "Mode", queries: "list[Query]", k: int, candidates: int
) -> "tuple[Run, float]":
    """The run of an index for the questions, and the seconds of encoding and searching them.

    In mode cross it ends with what the cross-encoder read, as other passages have no score of it. (Of
    documents cut into pieces it reads so many pieces; documents without one of these follow as they were.)
    """
    depth = min(k, candidates) if mode == "cross" else k
    started = time.perf_counter()
    with progress("searching", len(queries)) as advance:
        run = searcher.run(queries, depth, mode=mode, candidates=candidates, progress=advance)
    return run, time.perf_counter() - started


def rerank(
    teachers: "Teachers", collection: "Collection", queries: "list[Query]", run: "Run", depth: int
) -> "tuple[Run, float]":
    """The first ``depth`` passages of a run's questions as a cross-encoder ranks them, and its seconds."""
    from ernie_search.teacher import rerank_run

    texts = {query.id: query.text for query in queries}
    asked = {query: scores for query, scores in run.items() if query in texts}
    started = time.perf_counter()
    with progress("re-ranking", len(asked)) as advance:
        found = rerank_run(teachers, collection, asked, texts, depth, progress=advance)
    return found, time.perf_counter() - started
