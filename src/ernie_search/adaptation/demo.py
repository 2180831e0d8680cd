"""What the demo shows on request: the same documentation, adapted to without its labels, measured by them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ernie_search._util.files import read_json, remove, write_json
from ernie_search.adaptation.run import adapt
from ernie_search.data import Collection, open_collection
from ernie_search.encoding.build import make_index
from ernie_search.errors import SettingsError, TrainingError
from ernie_search.evaluation import SystemResult, evaluate_run, read_run, write_run
from ernie_search.pipeline import load_recipe
from ernie_search.pipeline.demo import DEPTH, FIRST, SINGLE, DemoResult, gain_over
from ernie_search.search import Mode, Searcher
from ernie_search.training.folder import model_identity
from ernie_search.training.trainer import Observer

ROWS: dict[str, tuple[Mode, str]] = {
    "adapted without labels, single vector": ("dense", SINGLE),
    "adapted without labels, hybrid": ("hybrid", FIRST),
}
"""Rows that are added to the demo's, each with its mode and the untrained row that it is compared with."""


@dataclass(frozen=True, slots=True)
class AdaptedDemo:
    """What came of it.

    Attributes:
        rows: of the adapted model over the demo's test questions; none where the base was kept.
        words: the verdict, which saw no label, and what the labels say, a sentence each.
    """

    rows: list[SystemResult]
    words: list[str]


def adapt_demo(
    result: DemoResult, minutes: float, *, say: Callable[[str], None], observer: Observer | None = None
) -> AdaptedDemo:
    """Adapt the demo's base to the demo's passages; a finished call is only read again.

    Args:
        result: of the demo; the adaptation goes beside its collection, into ``adapted``.
        minutes: that it may take, beside the demo's own.
        say: called with a line on each step.
        observer: called with training events.
    """
    output = result.collection.parent
    say(f"adapting without labels, {minutes:g} minutes: questions are made of the passages")
    source, base = str(result.collection), load_recipe("demo").base
    try:
        found = adapt(
            source,
            output / "adapted",
            base=base,
            minutes=minutes,
            settings={"labels": False},
            observer=observer,
        )
    except (SettingsError, TrainingError) as error:
        # Such as too few minutes, or others than before: the demo's own table is there all the same.
        return AdaptedDemo([], [f"Nothing was adapted: {error}"])
    verdict = f"Adapted without labels, by the questions that it made itself: {found.sentence}"
    if not found.use:
        return AdaptedDemo([], [verdict])
    say("adapted without labels: index and search")
    collection = open_collection(source)
    searched = output / "adapted-search"
    _search(found.model, collection, source, searched)
    qrels = collection.qrels("test")
    rows = {
        name: SystemResult(name, evaluate_run(qrels, read_run(_run_file(searched, mode))))
        for name, (mode, _) in ROWS.items()
    }
    measured = {row.name: row for row in result.rows} | rows
    gains = [gain_over(measured, name, over) for name, (_, over) in ROWS.items()]
    truth = (
        f"By the labels, which it never saw, its single vector {gains[0]} over the untrained one, and its "
        f"hybrid search {gains[1]} over first search."
    )
    return AdaptedDemo(list(rows.values()), [verdict, truth])


def _run_file(folder: Path, mode: Mode) -> Path:
    return folder / f"{mode}.trec"


def _search(model: Path, collection: Collection, source: str, folder: Path) -> None:
    """Write the runs that are not there; those of another model, as of an earlier adaptation, are removed."""
    noted, identity = folder / "model.json", model_identity(str(model))
    if not noted.is_file() or read_json(noted) != identity:
        remove(folder)
        write_json(noted, identity)
    missing = [mode for mode, _ in ROWS.values() if not _run_file(folder, mode).is_file()]
    if not missing:
        return
    make_index(source, model, folder / "index").index.close()
    searcher = Searcher.open(folder / "index")
    try:
        for mode in missing:
            write_run(_run_file(folder, mode), searcher.run(collection.queries("test"), DEPTH, mode=mode))
    finally:
        searcher.index.close()
