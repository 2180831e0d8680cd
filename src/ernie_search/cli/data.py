"""``ernie-search data``: look at a collection, check it, convert it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ernie_search._util.words import printable
from ernie_search.cli.app import BAD_INPUT, Commands, fail
from ernie_search.cli.output import AsJson, console, loading, print_json, progress, working

if TYPE_CHECKING:
    from ernie_search.data import CollectionInfo, Stats
    from ernie_search.data.stats import Lengths, Measure
    from ernie_search.types import Task

VALIDATE_EXAMPLE = "Example: ernie-search data validate my-data"
CONVERT_EXAMPLE = "Example: ernie-search data convert 'csv:faq.csv?query=question&positive=answer' runs/faq"
STATS_EXAMPLE = "Example: ernie-search data stats marco:msmarco --model runs/demo/model/last"

app = typer.Typer(
    cls=Commands,
    help="Check a collection, describe it, or write it as a BEIR folder.",
    rich_markup_mode="rich",
)

Source = Annotated[
    str,
    typer.Argument(
        help="A BEIR folder, or api:, irds:ID, hf:NAME, dpr:FILE, marco:DIR, csv:FILE, jsonl:FILE."
    ),
]


@app.command(epilog=VALIDATE_EXAMPLE)
def validate(source: Source, as_json: AsJson = False) -> None:
    """Count what a collection holds, or list its faults with their places; then the exit code is 2."""
    from ernie_search.data import inspect_collection, open_collection

    collection = open_collection(source)
    with working(f"reading {source}"):
        problems, info = inspect_collection(collection)
    for problem in problems:
        fail(str(problem))
    if info is None:
        raise typer.Exit(BAD_INPUT)
    if as_json:
        figures = {"queries": dict(info.queries), "positives": dict(info.positives)}
        print_json(
            {"source": source, "passages": info.passages, **figures, "fingerprint": collection.fingerprint}
        )
    else:
        show(info)


@app.command(epilog=CONVERT_EXAMPLE)
def convert(
    source: Source,
    output: Annotated[Path, typer.Argument(help="The BEIR folder to write.")],
    skip_faulty: Annotated[
        bool, typer.Option(help="Leave out faulty items, and count them, instead of refusing.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Write OUTPUT anew, without the questions, judgements and other files in it."
        ),
    ] = False,
) -> None:
    """Check any collection and write it as a BEIR folder (corpus.jsonl, queries.jsonl, qrels/).

    A source without questions (a folder of documents) renews the passages of a BEIR folder that is there; its
    questions, judgements and other files stay. Of a source with questions, OUTPUT may hold none that the
    source lacks.
    """
    from ernie_search.data import convert as convert_collection
    from ernie_search.data import open_collection

    collection = open_collection(source)
    with progress(f"converting {source}", None) as advance:
        done = convert_collection(
            collection, output, skip_faulty=skip_faulty, replace=replace, progress=advance
        )
    show(done.info)
    if done.skipped:
        console().print(f"left out: {done.skipped:,} faulty items, the first: {done.first}", soft_wrap=True)
    for split in done.lost:
        console().print(f"left out: split {split}, as none of its judgements is left", soft_wrap=True)
    if done.kept:
        console().print(
            f"kept: {printable(', '.join(done.kept))} of {printable(str(output))}", soft_wrap=True
        )
    if done.dangling:
        text = f"judgements of passages that are there no longer: {done.dangling:,}; judge anew"
        console().print(text, soft_wrap=True)


@app.command(epilog=STATS_EXAMPLE)
def stats(
    source: Source,
    model: Annotated[
        str | None,
        typer.Option(
            help="Count tokens of this model (a directory or a base) and use its limits; words if not given."
        ),
    ] = None,
    query_length: Annotated[
        int | None, typer.Option(min=1, help="Longest question that is read whole.")
    ] = None,
    passage_length: Annotated[
        int | None, typer.Option(min=1, help="Longest passage that is read whole.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show counts, lengths, the share that a model would cut, repetitions and overlaps of splits."""
    from dataclasses import asdict

    from ernie_search.data import collection_stats, open_collection

    collection = open_collection(source)
    measure, unit, limits = ruler(model)
    if query_length:
        limits["query"] = query_length
    if passage_length:
        limits["passage"] = passage_length
    with working(f"reading {source}"):
        found = collection_stats(collection, measure, unit, limits)
    if as_json:
        print_json(asdict(found))
    else:
        show_stats(found)


def ruler(model: str | None) -> "tuple[Measure, str, dict[Task, int]]":
    """How lengths are counted, their unit, and the model's limits; words without limits if no model is given.

    Raises:
        ModelError: no tokenizer there, or one that cannot be read.
    """
    from ernie_search.data.stats import token_lengths, word_lengths

    if model is None:
        return word_lengths, "words", {}
    from ernie_search.runtime.settings import SETTINGS_FILE, ScoreSettings

    folder = Path(model)
    settings = ScoreSettings.read(folder) if (folder / SETTINGS_FILE).is_file() else ScoreSettings()
    with loading("the tokenizer"):
        from ernie_search.model.tokenizer import open_tokenizer

        tokenizer = open_tokenizer(model)
    measure = token_lengths(tokenizer, settings.query_prompt, settings.passage_prompt)
    return measure, "tokens", {"query": settings.query_length, "passage": settings.passage_length}


def show(info: "CollectionInfo") -> None:
    """Print the counts of a sound collection as a table."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(printable(f"{info.source}: {info.passages:,} passages")), title_justify="left")
    table.add_column("split")
    table.add_column("questions", justify="right")
    table.add_column("relevant passages per question", justify="right")
    table.add_column("grades", justify="right")
    for split, count in info.queries.items():
        grades = ", ".join(map(str, info.grades[split]))
        table.add_row(
            Text(printable(split, one_line=True)), f"{count:,}", f"{info.positives[split]:.2f}", grades
        )
    console().print(table)


def show_stats(stats: "Stats") -> None:
    """Print the figures as one table of texts, and a line for what is not in it."""
    from rich.table import Table
    from rich.text import Text

    def row(name: str, count: int, again: int, lengths: "Lengths") -> None:
        cut = "" if lengths.truncated is None else f"{lengths.truncated:.1%} over {lengths.limit}"
        figures = (f"{lengths.mean:.1f}", lengths.median, lengths.p95, lengths.longest)
        table.add_row(
            Text(printable(name, one_line=True)), f"{count:,}", f"{again:,}", *map(str, figures), cut
        )

    table = Table(title=Text(printable(f"{stats.source}, lengths in {stats.unit}")), title_justify="left")
    table.add_column("texts")
    for name in ("count", "repeated", "mean", "median", "95 %", "longest", "truncated"):
        table.add_column(name, justify="right")
    row("passages", stats.passages, stats.duplicates, stats.lengths)
    for name, split in stats.splits.items():
        row(f"questions, {name}", split.queries, split.repeated, split.lengths)
    out = console()
    out.print(table)
    out.print(f"with a title: {stats.titled:.1%} of the passages")
    for name, split in stats.splits.items():
        grades = ", ".join(map(str, split.grades))
        out.print(
            f"{name}: {split.judgements:,} judgements (grades {grades}), {split.positives:.2f} relevant "
            f"passages per question, {split.relevant_passages:,} different ones"
        )
    for pair in stats.overlaps:
        both = f"{pair.queries:,} wordings of questions, {pair.passages:,} relevant passages"
        out.print(f"{pair.first} and {pair.second} share: {both}")
    if stats.unjudged:
        out.print(f"judged in no split: {stats.unjudged:,} questions")
