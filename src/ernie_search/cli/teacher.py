"""``ernie-search teacher``: train cross-encoders on mined lists, to score lists with them."""

from pathlib import Path
from typing import Annotated

import typer

from ernie_search.cli.output import AsJson, console, loading, print_json, print_line
from ernie_search.cli.train import parse_changes

EXAMPLE = "Example: ernie-search teacher runs/lists my-data --output runs/teacher --set steps=400"


def teacher(
    lists: Annotated[Path, typer.Argument(help="The folder of training lists from 'mine'.")],
    source: Annotated[str, typer.Argument(help="The collection that they were mined from.")],
    output: Annotated[Path, typer.Option(help="Output folder of the teachers.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train cross-encoders, each on one part of the lists, to score the other. The same command resumes."""
    with loading("the libraries"):
        from ernie_search._util.settings import parse_typed
        from ernie_search.cli.train import PipelineProgress
        from ernie_search.data import open_collection
        from ernie_search.mining.lists import Lists
        from ernie_search.teacher import TeacherSettings, train_teachers
    settings = parse_typed(TeacherSettings, parse_changes(changes or []))
    show = PipelineProgress(console(stderr=True))
    found = train_teachers(open_collection(source), Lists.open(lists), output, settings, show)
    if as_json:
        print_json({"teachers": found.name, "models": [str(model) for model in found.models]})
        return
    for model in found.models:
        print_line(f"teacher: {model}")
    print_line(f"Next: ernie-search score {lists} {source} --teacher {output} --output {output}-scores")
