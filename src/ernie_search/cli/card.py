"""``ernie-search card``: the model card, which is the README of a saved model."""

from pathlib import Path
from typing import Annotated

import typer

from ernie_search.cli.output import print_line
from ernie_search.errors import ModelError

EXAMPLE = (
    "Example: ernie-search card runs/squad/model --measures test.json --license cc-by-sa-4.0 --language en"
)


def card(
    model: Annotated[Path, typer.Argument(help="The model's directory, whose README.md is replaced.")],
    training: Annotated[
        Path | None, typer.Option(help="The model's training folder; default: the folder above the model.")
    ] = None,
    measures: Annotated[
        list[Path] | None, typer.Option(help="A file of 'evaluate --json'; may be repeated.")
    ] = None,
    name: Annotated[str, typer.Option(help="The model's name.")] = "",
    data: Annotated[str, typer.Option(help="Description of the training data.")] = "",
    dataset: Annotated[str, typer.Option(help="The training data's id on the hub.")] = "",
    language: Annotated[list[str] | None, typer.Option(help="A language code; may be repeated.")] = None,
    license_: Annotated[
        str,
        typer.Option(
            "--license", help="License of the weights, which depends on the base and the training data."
        ),
    ] = "",
    limit: Annotated[list[str] | None, typer.Option(help="A limitation to mention; may be repeated.")] = None,
) -> None:
    """Write the model card: method, data, measures with intervals, limitations, license."""
    if not model.is_dir():
        raise ModelError(f"{model}: no such model directory; train one with: ernie-search train --help")
    from ernie_search.model.card import CardFacts, write_card

    facts = CardFacts(name, data, dataset, tuple(language or ()), license_, tuple(limit or ()))
    print_line(str(write_card(model, training_folder=training, measures=measures or (), facts=facts)))
