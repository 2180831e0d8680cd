"""``ernie-search export``: a trained model for use without this package."""

from pathlib import Path
from typing import Annotated

import typer

from ernie_search.cli.output import loading, print_line, working

EXAMPLE = "Example: ernie-search export runs/mine/best runs/multi-vector"


def export(
    model: Annotated[Path, typer.Argument(help="A model directory that 'train' made.")],
    output: Annotated[Path, typer.Argument(help="Output folder; an earlier export there is replaced.")],
) -> None:
    """Export the late interaction of a model as a MultiVectorEncoder of sentence-transformers.

    The export is loaded again, to check that it gives the same scores. The single vector needs no export: the
    model directory is a plain SentenceTransformer.
    """
    with loading("the model"):
        from ernie_search.model import export_multi_vector, load

        encoder = load(model)
    with working("writing and checking"):
        written = export_multi_vector(encoder, output)
    print_line(f"{written}: a MultiVectorEncoder, which gives the same scores as {model}.")
    print_line(
        f"Next: from sentence_transformers import MultiVectorEncoder; MultiVectorEncoder({str(written)!r})"
    )
