"""``ernie-search index``: encode a collection so that it can be searched."""

from pathlib import Path
from typing import Annotated

import typer

from ernie_search.cli.output import AsJson, console, print_json, progress
from ernie_search.cli.quiet import loading
from ernie_search.errors import SettingsError

EXAMPLE = "Example: ernie-search index my-data --model runs/mine/best --output runs/index"


def index(
    source: Annotated[str, typer.Argument(help="A BEIR folder, 'api:', or 'api:numpy,scipy'.")],
    model: Annotated[Path, typer.Option(help="A model directory that 'train' made.")],
    output: Annotated[Path, typer.Option(help="The folder of the index.")],
    chunk_words: Annotated[
        int | None, typer.Option(help="Cut longer passages into pieces of so many words.")
    ] = None,
    chunk_overlap: Annotated[int, typer.Option(help="Words that neighbouring pieces share.")] = 0,
    tokens: Annotated[
        bool, typer.Option("--tokens/--no-tokens", help="Store token matrices, which late interaction needs.")
    ] = True,
    shard_size: Annotated[int, typer.Option(help="Passages a file; a crash loses one file at most.")] = 4096,
    as_json: AsJson = False,
) -> None:
    """Encode a collection into an index. Interrupted, the same command goes on where it stopped."""
    if chunk_words is None and chunk_overlap:
        raise SettingsError(
            f"--chunk-overlap {chunk_overlap} without --chunk-words; say how long a piece may be"
        )
    with loading("the model"):
        from ernie_search.api import build_index
    with progress("encoding", None) as advance:
        done = build_index(
            source,
            model,
            output,
            chunk_words=chunk_words,
            chunk_overlap=chunk_overlap,
            tokens=tokens,
            shard_size=shard_size,
            progress=advance,
        )
    if as_json:
        print_json(
            {
                "index": str(done.path),
                "passages": done.passages,
                "encoded": done.encoded,
                "truncated": done.truncated,
                "tokens": done.tokens,
                "seconds": done.seconds,
            }
        )
        return
    new = "all there already" if done.encoded == 0 else f"{done.encoded:,} encoded now"
    out = console()
    out.print(
        f"{done.path}: {done.passages:,} passages ({new}), {done.tokens:,} token vectors.", soft_wrap=True
    )
    if done.truncated:
        out.print(
            f"longer than the model reads, so cut: {done.truncated:,} passages; "
            "--chunk-words makes pieces instead.",
            soft_wrap=True,
        )
    out.print(f'Next: ernie-search search "your question" --index {done.path}', soft_wrap=True)
