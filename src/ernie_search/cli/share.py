"""``ernie-search share``: uploads a model to the Hugging Face hub."""

from pathlib import Path
from typing import Annotated

import typer

from ernie_search.cli.output import binary_size, console, loading, print_line, working

EXAMPLE = "Example: ernie-search share runs/mine/best my-org/my-retriever --private"


def share(
    model: Annotated[Path, typer.Argument(help="The model's directory.")],
    repository: Annotated[str, typer.Argument(help="Its name on the hub, as org/name; made if it is new.")],
    private: Annotated[bool, typer.Option("--private", help="A new repository is yours alone.")] = False,
    revision: Annotated[str | None, typer.Option(help="A branch; by default the main one.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files with their sizes, and upload nothing.")
    ] = False,
) -> None:
    """Upload a model with its head, settings, ONNX graph and card, so that others load it by its name.

    You must be logged in to the hub: hf auth login. Write the card first with 'card', or a short one is made.
    """
    with loading("the model"):
        from ernie_search.model.sharing import lacks, shared_files
        from ernie_search.model.sharing import share as upload

    if dry_run:
        files = shared_files(model)
        for name, size in files.items():
            print_line(f"{binary_size(size):>12}  {name}")
        where = repository + (f"@{revision}" if revision else "")
        print_line(f"{binary_size(sum(files.values())):>12}  {len(files)} files, not uploaded, to {where}")
    for note in lacks(model):
        console(stderr=True).print(f"note: {note}", soft_wrap=True)
    if dry_run:
        return
    with working(f"uploading {model}"):
        address = upload(model, repository, private=private, revision=revision)
    print_line(address)
    at = f"@{revision}" if revision else ""
    print_line(f"Next: ernie-search index SOURCE --model {repository}{at} --output INDEX")
