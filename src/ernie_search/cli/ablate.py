"""``ernie-search ablate``: what each part of the method contributes, trained under one recipe."""

from pathlib import Path
from typing import Annotated

import typer

from ernie_search.cli.output import AsJson, console, loading, print_json
from ernie_search.cli.train import Base, Changes, Layers, overrides
from ernie_search.errors import SettingsError

EXAMPLE = "Example: ernie-search ablate squad --source my-squad --output runs/table --rows alone,both,full"


def ablate(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or your own .yaml file.")],
    output: Annotated[Path, typer.Option(help="Folder for the shared stages, the rows and the table.")],
    source: Annotated[str | None, typer.Option(help="The collection, where the recipe names none.")] = None,
    rows: Annotated[
        str | None,
        typer.Option(help="Names of rows, separated by commas; default: all that the recipe allows."),
    ] = None,
    seeds: Annotated[
        str, typer.Option(help="Seeds of the rows' warm-ups and trainings, separated by commas.")
    ] = "0,1,2",
    split: Annotated[str, typer.Option(help="The split whose questions are evaluated.")] = "dev",
    keep_vectors: Annotated[
        bool,
        typer.Option(
            "--keep-vectors",
            help="Keep the vectors of each row, so that another split can be evaluated later.",
        ),
    ] = False,
    cluster: Annotated[
        list[str] | None,
        typer.Option(
            "--cluster",
            help="Tests by cluster in the table: passage, or field:NAME; may be repeated. Default: passage, "
            "and field:title where passages have titles.",
        ),
    ] = None,
    base: Base = None,
    layers: Layers = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Train variants that differ in their losses alone, and compare them. The same command resumes."""
    from ernie_search.evaluation.clusters import check_cluster

    numbers = parse_seeds(seeds)
    for by in cluster or []:
        check_cluster(by)
    settings = overrides(changes, base, layers)
    with loading("the libraries"):
        from ernie_search.ablation import ablate as compare_rows
        from ernie_search.cli.train import PipelineProgress, settle_memory
        from ernie_search.data import open_collection, validate
        from ernie_search.data.collection import hold
        from ernie_search.pipeline import load_recipe

    chosen = load_recipe(recipe, settings)
    settle_memory(chosen)
    place = source or chosen.source
    if place is None:
        raise SettingsError(f"recipe {recipe} names no collection; give one with --source")
    collection = hold(open_collection(place))
    validate(collection)
    names = None if rows is None else [name.strip() for name in rows.split(",") if name.strip()]
    done = compare_rows(
        chosen,
        collection,
        output,
        rows=names,
        seeds=numbers,
        split=split,
        observer=PipelineProgress(console(stderr=True)),
        keep_vectors=keep_vectors,
        clusters=cluster or None,
    )
    if as_json:
        print_json(done.table)
    else:
        out = console()
        out.print(done.markdown.read_text(encoding="utf-8"), soft_wrap=True, end="")
        out.print(f"\nwritten: {done.markdown}, {done.json}", soft_wrap=True)


def parse_seeds(text: str) -> list[int]:
    """Parse seeds such as ``"0,1,2"``.

    Raises:
        SettingsError: they are not distinct whole numbers separated by commas.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise SettingsError(
            f"--seeds {text}: must be distinct whole numbers separated by commas, such as 0,1,2"
        )
    return [int(part) for part in parts]
