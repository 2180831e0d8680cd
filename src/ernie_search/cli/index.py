"""``ernie-search index``: encode a collection so that it can be searched."""

from pathlib import Path
from typing import Annotated

import typer

from ernie_search.cli.output import AsJson, console, print_json, progress, working
from ernie_search.errors import SettingsError
from ernie_search.files import fingerprint

EXAMPLE = "Example: ernie-search index my-data --model runs/model --output runs/index"


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
    from ernie_search.data import chunk_passages, open_collection, validate

    if chunk_words is None and chunk_overlap:
        raise SettingsError(
            f"--chunk-overlap {chunk_overlap} without --chunk-words; say how long a piece may be"
        )
    collection = open_collection(source)
    data = collection.fingerprint
    passages = collection.passages()
    if chunk_words is not None:
        passages = chunk_passages(passages, chunk_words, chunk_overlap)
        data = fingerprint(data, "chunks", chunk_words, chunk_overlap)
    with working(f"checking {source}"):
        validate(collection)
        counted = collection.passages()
        if chunk_words is not None:
            counted = chunk_passages(counted, chunk_words, chunk_overlap)
        total = sum(1 for _ in counted)
    with working("loading the model"):
        from ernie_search.encoding import encode_collection
        from ernie_search.model import load

        encoder = load(model)
    with progress("encoding", total) as advance:
        done = encode_collection(
            encoder,
            passages,
            output,
            data_fingerprint=data,
            shard_size=shard_size,
            with_tokens=tokens,
            model_path=model,
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
