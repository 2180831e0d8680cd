"""``ernie-search card``: the README of a saved model."""

from pathlib import Path
from typing import Annotated

import typer

from ernie_search.cli.output import print_line
from ernie_search.errors import ModelError

EXAMPLE = (
    "Example: ernie-search card runs/squad/model --measures test.json --license cc-by-sa-4.0 --language en"
)


def card(
    model: Annotated[Path, typer.Argument(help="The model's directory; its README.md is written anew.")],
    run_folder: Annotated[
        Path | None, typer.Option(help="Folder of its training; the one above the model, if not given.")
    ] = None,
    measures: Annotated[
        list[Path] | None, typer.Option(help="A file of 'evaluate --json'; may be repeated.")
    ] = None,
    name: Annotated[str, typer.Option(help="The model's name.")] = "",
    data: Annotated[str, typer.Option(help="What it was trained on, in words.")] = "",
    dataset: Annotated[str, typer.Option(help="The data's id on the hub.")] = "",
    language: Annotated[list[str] | None, typer.Option(help="A language code; may be repeated.")] = None,
    license_: Annotated[
        str, typer.Option("--license", help="Of the weights; base and training data decide.")
    ] = "",
    limit: Annotated[list[str] | None, typer.Option(help="A limit to name; may be repeated.")] = None,
) -> None:
    """Write the model card: method, data, measures with intervals, limits, licence."""
    if not model.is_dir():
        raise ModelError(f"{model}: no such model directory; train one with: ernie-search train --help")
    from ernie_search.model.card import CardFacts, write_card

    facts = CardFacts(name, data, dataset, tuple(language or ()), license_, tuple(limit or ()))
    print_line(str(write_card(model, training_folder=run_folder, measures=measures or (), facts=facts)))
