"""``ernie-search evaluate``: measure an index or a run file."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ernie_search.cli.output import AsJson, console, print_json, progress
from ernie_search.cli.quiet import loading
from ernie_search.errors import SettingsError

if TYPE_CHECKING:
    from ernie_search.data import Collection
    from ernie_search.types import Run

EXAMPLE = "Example: ernie-search evaluate my-data --split dev --index runs/index"


def evaluate(
    source: Annotated[str, typer.Argument(help="The collection whose questions and judgements count.")],
    split: Annotated[str, typer.Option(help="Which judgements: train, dev, test, ...")] = "test",
    index: Annotated[Path | None, typer.Option(help="Measure this index, searched now.")] = None,
    run: Annotated[Path | None, typer.Option(help="Measure this TREC run file.")] = None,
    mode: Annotated[
        Literal["late", "dense"], typer.Option(help="Re-rank by late interaction, or single vectors alone.")
    ] = "late",
    k: Annotated[int, typer.Option("-k", "--top", help="Passages a question.")] = 1000,
    candidates: Annotated[int, typer.Option(help="How many passages late interaction re-ranks.")] = 100,
    model: Annotated[Path | None, typer.Option(help="The index's model, if it was moved.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="Compare with this TREC run file.")] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option("--measure", "-m", help="MRR@k, nDCG@k, recall@k, ...; may be repeated."),
    ] = None,
    save_run: Annotated[Path | None, typer.Option(help="Write the index's run as a TREC file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure with 95 % intervals; with a baseline, also whether the difference could be chance."""
    from ernie_search.data import open_collection
    from ernie_search.evaluation import (
        DEFAULT_MEASURES,
        SystemResult,
        evaluate_run,
        read_run,
        results_json,
        results_table,
        write_run,
    )
    from ernie_search.evaluation.measures import parse_measure
    from ernie_search.evaluation.table import TABLE_MEASURES

    if (index is None) == (run is None):
        raise SettingsError(
            "evaluate needs one of --index DIR and --run FILE; see: ernie-search evaluate --help"
        )
    if save_run is not None and index is None:
        raise SettingsError("--save-run writes the run of an index; name it with --index")
    collection = open_collection(source)
    qrels = collection.qrels(split)
    names = tuple(measure or DEFAULT_MEASURES)
    for name in names:
        parse_measure(name)  # a typing error shows before minutes are spent searching
    systems = []
    if baseline is not None:
        systems.append(SystemResult(baseline.name, evaluate_run(qrels, read_run(baseline), names)))
    if index is not None:
        found, seconds = _search(collection, split, index, model, mode, k, candidates)
        if save_run is not None:
            write_run(save_run, found, tag=f"ernie-search-{mode}")
        systems.append(SystemResult(f"{index.name} ({mode})", evaluate_run(qrels, found, names), seconds))
    elif run is not None:
        systems.append(SystemResult(_label(run, baseline), evaluate_run(qrels, read_run(run), names)))
    against = baseline.name if baseline is not None else None
    if as_json:
        figures = results_json(systems, baseline=against)
        print_json(
            {"source": collection.source, "split": split, "data": collection.fingerprint, "systems": figures}
        )
        return
    out = console()
    out.print(f"{collection.source}, {split}: {len(qrels):,} questions", soft_wrap=True)
    out.print(results_table(systems, tuple(measure or TABLE_MEASURES), baseline=against))
    for system in systems:
        missing = system.measured.missing
        if missing:
            out.print(f"{system.name}: judged questions that are not in the run and count 0: {missing:,}")


def _label(run: Path, baseline: Path | None) -> str:
    """A run's file name, or its whole path where the baseline has the same name."""
    return str(run) if baseline is not None and run.name == baseline.name else run.name


def _search(
    collection: "Collection",
    split: str,
    index: Path,
    model: Path | None,
    mode: Literal["late", "dense"],
    k: int,
    candidates: int,
) -> "tuple[Run, float]":
    """The run of an index for the split's questions, and the seconds of encoding and searching them."""
    with loading("the index and its model"):
        from ernie_search.search import Searcher

        searcher = Searcher.open(index, model)
    queries = collection.queries(split)
    started = time.perf_counter()
    with progress("searching", len(queries)) as advance:
        run = searcher.run(queries, k, mode=mode, candidates=candidates, progress=advance)
    return run, time.perf_counter() - started
