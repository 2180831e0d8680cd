"""``ernie-search tune``: find hybrid mode's weights on one's own labels, and keep them with the index."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ernie_search.cli.output import AsJson, console, print_json, progress
from ernie_search.cli.searching import TokenWeightsOption, open_searcher
from ernie_search.errors import SettingsError

if TYPE_CHECKING:
    from ernie_search.evaluation.comparison import Comparison

EXAMPLE = "Example: ernie-search tune runs/index my-data --split dev"

ALPHA = 0.05
"""Above this p a gain is called what it may be: chance."""


def tune(
    index: Annotated[str, typer.Argument(help="The index: a folder.")],
    source: Annotated[
        str | None, typer.Argument(help="The collection whose questions and judgements are used.")
    ] = None,
    split: Annotated[str, typer.Option(help="Its judgements to use; not those that you report.")] = "dev",
    metric: Annotated[str, typer.Option(help="What shall be best: MRR@10, nDCG@10, recall@100, ...")] = (
        "MRR@10"
    ),
    candidates: Annotated[int, typer.Option(help="Passages of each ranking that are read.")] = 100,
    token_weights: TokenWeightsOption = None,
    model: Annotated[Path | None, typer.Option(help="The index's model, if it was moved.")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Return to the default weights.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the weights that rank one's own questions best; every search of the index uses them afterwards."""
    from ernie_search.index.opening import lance_folder, on_disk, open_index

    if reset != (source is None):
        raise SettingsError(
            "tune needs a collection with judgements, or --reset without one; see: tune --help"
        )
    if not on_disk(index):
        raise SettingsError(f"{index}: only an index on disk keeps weights; give them with --fusion instead")
    if source is None:
        from ernie_search.search import reset_tuned

        open_index(index, check=False).close()  # a folder that is no index is refused
        had = reset_tuned(lance_folder(index))
        said = "back to the default weights" if had else "was not tuned; it has the default weights"
        console().print(f"{index}: {said}.", soft_wrap=True)
        return
    _tune(index, source, split, metric, as_json, model, candidates=candidates, token_weights=token_weights)


def _tune(
    index: str, source: str, split: str, metric: str, as_json: bool, model: Path | None, **options: Any
) -> None:
    from ernie_search.data import open_collection
    from ernie_search.evaluation import compare, drop_self_hits, evaluate_run
    from ernie_search.evaluation.comparison import check_measures
    from ernie_search.evaluation.measures import Measured
    from ernie_search.search import Tuned, write_tuned

    check_measures([metric], qrels=True, answers=False)
    collection = open_collection(source)
    queries, qrels = collection.queries(split), collection.qrels(split)
    searcher, _ = open_searcher(index, model, "hybrid")

    def measured(run: Any) -> Measured:
        return evaluate_run(qrels, drop_self_hits(run, qrels)[0], [metric])

    with progress("searching", len(queries)) as advance:
        tuning = searcher.tune(queries, lambda run: measured(run).of(metric), progress=advance, **options)
    ids = measured({}).query_ids
    default, left_out = (Measured(ids, {metric: values}, 0) for values in (tuning.default, tuning.left_out))
    found = compare(left_out, default, metric)
    about = {
        "source": collection.source,
        "split": split,
        "questions": len(ids),
        "metric": metric,
        "default": float(tuning.default.mean()),
        "tuned": float(tuning.best.mean()),
        "left_out": float(tuning.left_out.mean()),
        "gain": found.difference,
        "gain_interval": [found.low, found.high],
        "p": found.p,
    }
    kept = None
    if tuning.gain > 0:
        kept = str(write_tuned(searcher.index, Tuned(tuning.fusion, tuning.token_weights, about)))
    if as_json:
        print_json(
            {"fusion": str(tuning.fusion), "token_weights": tuning.token_weights, "kept": kept} | about
        )
        return
    out = console()
    out.print(
        f"{collection.source}, {split}: {len(ids):,} questions, {metric}; {tuning.tried} weights tried",
        soft_wrap=True,
    )
    out.print(f"default  {about['default']:.4f}")
    out.print(f"best     {about['tuned']:.4f}  {tuning.fusion}", soft_wrap=True)
    for line in _verdict(found, tuning.gain, index, kept):
        out.print(line, soft_wrap=True)


def _verdict(found: "Comparison", gain: float, index: str, kept: str | None) -> list[str]:
    """What the weights gain on questions that they were not chosen by, and what was done."""
    said = (
        f"On questions left out of the choice: {found.difference:+.4f} "
        f"[{found.low:+.4f}, {found.high:+.4f}], p {found.p:.3g}."
    )
    if kept is None:
        return [said, f"That is no gain, so nothing was kept: {index} is searched as before."]
    if found.p > ALPHA:
        said += " This is not significant: it may be chance; more labels would tell."
    return [said, f"Kept in {kept}, and used from now on; undo it with: ernie-search tune {index} --reset"]
