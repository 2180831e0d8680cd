"""``ernie-search data``: look at a collection, check it, convert it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ernie_search.cli.app import BAD_INPUT, Commands, fail
from ernie_search.cli.output import AsJson, console, print_json, working

if TYPE_CHECKING:
    from ernie_search.data import CollectionInfo

VALIDATE_EXAMPLE = "Example: ernie-search data validate my-data"
CONVERT_EXAMPLE = "Example: ernie-search data convert api:numpy runs/numpy"

app = typer.Typer(
    cls=Commands, help="Check a collection, or write it as a BEIR folder.", rich_markup_mode="rich"
)

Source = Annotated[str, typer.Argument(help="A BEIR folder, 'api:', or 'api:numpy,scipy'.")]


@app.command(epilog=VALIDATE_EXAMPLE)
def validate(source: Source, as_json: AsJson = False) -> None:
    """Say what a collection holds, or what is wrong with it and where. Exit code 2 if anything is."""
    from ernie_search.data import find_problems, open_collection

    collection = open_collection(source)
    with working(f"reading {source}"):
        problems = find_problems(collection)
    if problems:
        for problem in problems:
            fail(str(problem))
        raise typer.Exit(BAD_INPUT)
    info = collection.describe()
    if as_json:
        figures = {"queries": dict(info.queries), "positives": dict(info.positives)}
        print_json(
            {"source": source, "passages": info.passages, **figures, "fingerprint": collection.fingerprint}
        )
    else:
        show(info)


@app.command(epilog=CONVERT_EXAMPLE)
def convert(
    source: Source, output: Annotated[Path, typer.Argument(help="The BEIR folder to write.")]
) -> None:
    """Write any collection as a BEIR folder (corpus.jsonl, queries.jsonl, qrels/), after checking it."""
    from ernie_search.data import open_collection, validate, write_beir

    collection = open_collection(source)
    with working(f"converting {source}"):
        validate(collection)
        written = write_beir(collection, output)
    show(written.describe())


def show(info: "CollectionInfo") -> None:
    """Print the counts of a sound collection as a table."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"{info.source}: {info.passages:,} passages"), title_justify="left")
    table.add_column("split")
    table.add_column("questions", justify="right")
    table.add_column("relevant passages a question", justify="right")
    table.add_column("grades", justify="right")
    for split, count in info.queries.items():
        grades = ", ".join(map(str, info.grades[split]))
        table.add_row(Text(split), f"{count:,}", f"{info.positives[split]:.2f}", grades)
    console().print(table)
