"""``ernie-search index``: encode a collection, put it into a store, and keep the store in order."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ernie_search._util.files import MANIFEST, behind_link
from ernie_search.cli import store
from ernie_search.cli.app import Commands
from ernie_search.cli.executor import Address, ExecutorName, WorkerCpus, WorkerGpus, opened
from ernie_search.cli.output import AsJson, console, loading, print_json, progress
from ernie_search.errors import IndexStateError, SettingsError

EXAMPLE = "Example: ernie-search index my-data --model runs/mine/best --output runs/index"
BUILD_EXAMPLE = "Example: ernie-search index build my-data --model runs/mine/best --output runs/store"
ADD_EXAMPLE = "Example: ernie-search index add runs/store more-data --model runs/mine/best"

ENCODE = "encode"
"""What ``index`` does where no other word follows: the form of the first versions."""

Source = Annotated[str, typer.Argument(help="A BEIR folder, 'api:', or 'api:numpy,scipy'.")]
ChunkWords = Annotated[int | None, typer.Option(help="Cut longer passages into pieces of so many words.")]
ChunkOverlap = Annotated[int, typer.Option(help="Words that neighbouring pieces share.")]
WithTokens = Annotated[
    bool, typer.Option("--tokens/--no-tokens", help="Store token matrices, which late interaction needs.")
]
ShardSize = Annotated[int, typer.Option(help="Passages a file; a crash loses one file at most.")]


class IndexCommands(Commands):
    """The group: ``index SOURCE`` without another command encodes, as it always did."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the default command before arguments that name none."""
        if args and args[0] not in (*self.commands, "--help", "-h"):
            args = [ENCODE, *args]
        return list(super().parse_args(ctx, args))


app = typer.Typer(
    cls=IndexCommands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Make a collection searchable: [bold]index SOURCE[/bold] encodes it into shards, "
    "[bold]index build[/bold] makes a store; the others keep the store in order.",
    epilog=EXAMPLE,
)


@app.command(ENCODE, epilog=EXAMPLE)
def encode(
    source: Source,
    model: Annotated[Path, typer.Option(help="A model directory that 'train' made.")],
    output: Annotated[Path, typer.Option(help="The folder of the index.")],
    chunk_words: ChunkWords = None,
    chunk_overlap: ChunkOverlap = 0,
    tokens: WithTokens = True,
    shard_size: ShardSize = 4096,
    executor: ExecutorName = "local",
    address: Address = None,
    worker_cpus: WorkerCpus = None,
    worker_gpus: WorkerGpus = None,
    as_json: AsJson = False,
) -> None:
    """Encode a collection into shards, searched in memory. Interrupted, the same command goes on."""
    with opened(executor, address, worker_cpus, worker_gpus) as where:
        done = _encoded(source, model, output, chunk_words, chunk_overlap, tokens, shard_size, where)
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
            + ("--chunk-words makes pieces instead." if chunk_words is None else "take fewer --chunk-words."),
            soft_wrap=True,
        )
    out.print(_next(str(done.path), tokens), soft_wrap=True)


@app.command(epilog=BUILD_EXAMPLE)
def build(
    source: Annotated[
        str, typer.Argument(help="A BEIR folder, 'api:', ..., or a folder of shards that is there already.")
    ],
    output: Annotated[str, typer.Option(help="The store: a folder, or qdrant+http://host:6333/name.")],
    model: Annotated[Path | None, typer.Option(help="A model directory that 'train' made.")] = None,
    shards: Annotated[
        Path | None, typer.Option(help="Where the encoded shards go; beside the store if not said.")
    ] = None,
    chunk_words: ChunkWords = None,
    chunk_overlap: ChunkOverlap = 0,
    tokens: Annotated[
        str, typer.Option(help="Token matrices as fp32, fp16, int8, 2bit, or none (dense only).")
    ] = "fp16",
    dense: Annotated[
        str,
        typer.Option(help="Vectors in memory as fp32, or int8: a quarter of the memory, the same hits."),
    ] = "fp32",
    field: Annotated[
        list[str] | None,
        typer.Option(help="A field to filter by, NAME:str|int|float|bool; repeat. By default all that are."),
    ] = None,
    ann: Annotated[
        str,
        typer.Option(help="Approximate index of a large store: ivf_rq, ivf_hnsw_sq, ivf_sq, ivf_pq or none."),
    ] = "ivf_rq",
    exact_below: Annotated[int, typer.Option(help="Passages up to which every vector is compared.")] = 50_000,
    part: Annotated[
        str, typer.Option(help="I/N: be one of N loaders of a Qdrant cluster, who load at once.")
    ] = "1/1",
    shard_size: ShardSize = 4096,
    executor: ExecutorName = "local",
    address: Address = None,
    worker_cpus: WorkerCpus = None,
    worker_gpus: WorkerGpus = None,
    as_json: AsJson = False,
) -> None:
    """Make a store: vectors, tokens, words and fields, durable and checked. Interrupted, it goes on."""
    folder, chosen = Path(source), _part(part)
    if not (folder / MANIFEST).is_file():
        if chosen != (1, 1):
            raise SettingsError(f"--part {part}: loaders share shards that are there; encode them first")
        if model is None:
            raise SettingsError("--model: needed to encode a collection; shards that are there need none")
        folder = shards or _beside(output)
        with opened(executor, address, worker_cpus, worker_gpus) as where:
            _encoded(source, model, folder, chunk_words, chunk_overlap, tokens != "none", shard_size, where)
    with loading("the store"):
        from ernie_search.index import build_store
    fields = None if field is None else dict(store.field_type(one) for one in field)
    with progress("storing", None) as advance:
        made = build_store(
            folder,
            output,
            fields=fields,
            progress=advance,
            tokens=tokens,
            dense=dense,
            ann=ann,
            exact_below=exact_below,
            part=chosen,
        )
    try:
        held = made.stats()
    finally:
        made.close()
    store.show_stats(output, held, as_json)
    if not as_json:
        console().print(_next(output, held.token_format != "none"), soft_wrap=True)


@app.command(epilog=ADD_EXAMPLE)
def add(
    index: store.Where,
    source: Source,
    model: Annotated[Path, typer.Option(help="The model that made the store.")],
    chunk_words: ChunkWords = None,
    chunk_overlap: ChunkOverlap = 0,
    as_json: AsJson = False,
) -> None:
    """Encode a collection's passages and put them into a store; those of the same id are replaced."""
    _check_cut(chunk_words, chunk_overlap)
    with loading("the model"):
        from ernie_search.api import add_to_index
    with progress("adding", None) as advance:
        written = add_to_index(
            source, index, model, chunk_words=chunk_words, chunk_overlap=chunk_overlap, progress=advance
        )
    if as_json:
        print_json({"index": index, "written": written})
    else:
        console().print(f"{index}: {written:,} passages added or replaced.", soft_wrap=True)


app.command(epilog=store.DELETE_EXAMPLE)(store.delete)
app.command(epilog=store.STATS_EXAMPLE)(store.stats)
app.command(epilog=store.OPTIMIZE_EXAMPLE)(store.optimize)
app.command(epilog=store.VERIFY_EXAMPLE)(store.verify)


def _next(index: str, tokens: bool) -> str:
    """What to type next; without token matrices the usual mode, late, is not possible."""
    return f'Next: ernie-search search "your question" --index {index}' + ("" if tokens else " --mode dense")


def _part(text: str) -> tuple[int, int]:
    """``2/8`` as numbers."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise SettingsError(f"--part {text}: say which of how many, such as 2/8")
    return int(number), int(count)


def _check_cut(chunk_words: int | None, chunk_overlap: int) -> None:
    if chunk_words is None and chunk_overlap:
        raise SettingsError(
            f"--chunk-overlap {chunk_overlap} without --chunk-words; say how long a piece may be"
        )


def _encoded(
    source: str,
    model: Path,
    output: Path,
    chunk_words: int | None,
    chunk_overlap: int,
    tokens: bool,
    shard_size: int,
    executor: Any,
) -> Any:
    """The collection, encoded into shards."""
    _check_cut(chunk_words, chunk_overlap)
    with loading("the model"):
        from ernie_search.api import build_index
    with progress("encoding", None) as advance:
        return build_index(
            source,
            model,
            output,
            chunk_words=chunk_words,
            chunk_overlap=chunk_overlap,
            tokens=tokens,
            shard_size=shard_size,
            progress=advance,
            executor=executor,
            expect=advance.expect,
        )


def _beside(output: str) -> Path:
    """The shards' folder that follows from the store's."""
    if "://" in output and not output.startswith("lance://"):
        raise IndexStateError(f"{output}: say where the encoded shards go, with --shards")
    folder = behind_link(Path(output.removeprefix("lance://")))
    return folder.with_name(f"{folder.name}-shards")
