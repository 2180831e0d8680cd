"""``ernie-search index``: makes an index or brings it up to date, and keeps it in order."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from ernie_search._util.files import did_you_mean
from ernie_search.cli.app import Commands
from ernie_search.cli.defaults import DEFAULT_INDEX, default_model
from ernie_search.cli.executor import Address, ExecutorName, WorkerCpus, WorkerGpus
from ernie_search.cli.executor import opened as executor_of
from ernie_search.cli.output import AsJson, binary_size, console, loading, print_json, progress, working
from ernie_search.cli.syncing import check_cut, sync
from ernie_search.errors import IndexStateError, SettingsError

if TYPE_CHECKING:
    from ernie_search.data.files import FilesCollection
    from ernie_search.encoding.build import Built
    from ernie_search.index import IndexStats
    from ernie_search.index.spec import FieldType

EXAMPLE = "Example: ernie-search index ./docs"
ADD_EXAMPLE = "Example: ernie-search index add runs/index more-data --model runs/mine/best"
DELETE_EXAMPLE = "Example: ernie-search index delete runs/index --where 'year < 2000'"
STATS_EXAMPLE = "Example: ernie-search index stats runs/index"
OPTIMIZE_EXAMPLE = "Example: ernie-search index optimize runs/index"
VERIFY_EXAMPLE = "Example: ernie-search index verify runs/index --model runs/mine/best"

Where = Annotated[str, typer.Argument(help="The index: a folder, or qdrant+http://host:6333/name.")]
ChunkWords = Annotated[int | None, typer.Option(help="Cut longer passages into pieces of so many words.")]
Runtime = Annotated[
    Literal["auto", "onnx", "torch"],
    typer.Option(help="What encodes passages: auto takes the faster one here, measured once."),
]
Precision = Annotated[
    Literal["fp32", "int8", "auto"] | None,
    typer.Option(
        help="Of the ONNX graph; auto takes 8 bits where their measured loss is small.",
        show_default="fp32",
    ),
]
ChunkOverlap = Annotated[int, typer.Option(help="Words that neighbouring pieces share.")]


class IndexCommands(Commands):
    """A group that makes an index of a SOURCE where the first word names no sub-command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Words after a sub-command's name are its own; all others are the group's."""
        if not args or args[0] not in self.commands:
            first = args[0][:80] if args else ""
            try:
                return list(super().parse_args(ctx, args))
            except typer.TyperException:
                # A source is one word; 'index verfy DIR' has two, and its author meant a sub-command.
                if get_close_matches(first, self.commands, n=1, cutoff=0.7) and not Path(first).exists():
                    ctx.fail(f"no command {first!r}{did_you_mean(first, list(self.commands))}")
                raise
        ctx.params = {param.name: None for param in self.params}
        ctx._protected_args, ctx.args = args[:1], args[1:]  # as TyperGroup itself hands them on
        return args[1:]


app = typer.Typer(
    cls=IndexCommands,
    invoke_without_command=True,
    subcommand_metavar="| COMMAND [ARGS]...",
    context_settings={"allow_interspersed_args": True, "allow_extra_args": False},
    rich_markup_mode="rich",
    epilog=EXAMPLE,
)


@app.callback()
def index(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            help="A folder of documents (or 'files:DIR'), a BEIR folder, 'api:', ..., or a folder of shards; "
            "'./add' if it is called so. By default the one that the index was made from.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str, typer.Option(help="The index: a folder, or qdrant+http://host:6333/name.")
    ] = DEFAULT_INDEX,
    model: Annotated[
        str | None,
        typer.Option(
            help="A model's directory or hub name; by default the index's own, or the bundled one. "
            "Shards need none.",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option(help="Of a folder of documents: stay, and take up every change.")
    ] = False,
    shards: Annotated[
        Path | None,
        typer.Option(help="Keep the encoded shards there; by default they go once the index is complete."),
    ] = None,
    chunk_words: ChunkWords = None,
    chunk_overlap: ChunkOverlap = 0,
    tokens: Annotated[
        str | None,
        typer.Option(
            help="Token matrices as fp32, fp16, int8, 2bit, 1bit, or none (dense only).",
            show_default="fp16; of a model that was not trained for them 2bit",
        ),
    ] = None,
    token_dim: Annotated[
        int | None,
        typer.Option(
            help="Dimensions of the token vectors, of a model that was not trained for them.",
            show_default="128",
        ),
    ] = None,
    dense: Annotated[
        str | None,
        typer.Option(
            help="Vectors in memory as fp32, or int8: a quarter of the memory, the same hits.",
            show_default="fp32",
        ),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(help="A field to filter by, NAME:str|int|float|bool; repeat. By default all that are."),
    ] = None,
    ann: Annotated[
        str | None,
        typer.Option(
            help="Approximate index of a large one: ivf_rq, ivf_hnsw_sq, ivf_sq, ivf_pq or none.",
            show_default="ivf_rq",
        ),
    ] = None,
    language: Annotated[
        str,
        typer.Option(help="Language of the passages' words: a code as en, none, or auto to detect it."),
    ] = "auto",
    exact_below: Annotated[
        int | None,
        typer.Option(help="Passages up to which every vector is compared.", show_default="50000"),
    ] = None,
    part: Annotated[
        str, typer.Option(help="I/N: be one of N loaders of a Qdrant cluster, who load shards at once.")
    ] = "1/1",
    shard_size: Annotated[int, typer.Option(help="Passages per shard; a crash loses one at most.")] = 4096,
    runtime: Runtime = "auto",
    precision: Precision = None,
    executor: ExecutorName = "local",
    address: Address = None,
    worker_cpus: WorkerCpus = None,
    worker_gpus: WorkerGpus = None,
    as_json: AsJson = False,
) -> None:
    """Make an index of documents or a collection, or bring it up to date; interrupted, it resumes.

    An index on disk remembers its SOURCE. Where that has changed, only new and changed passages are \
encoded, and the index then holds exactly the source: what 'index add' brought goes. \
Options that are not given stay as the index was made with. \
The other commands keep an index in order.
    """
    if context.invoked_subcommand is not None:
        return
    source = source or _remembered(output)
    # What is not named stays as the index was made, so no default may stand for it here.
    chosen: dict[str, Any] = {
        "tokens": tokens,
        "token_dim": token_dim,
        "dense": dense,
        "ann": ann,
        "exact_below": exact_below,
    }
    chosen = {name: value for name, value in chosen.items() if value is not None}
    fields = None if field is None else dict(field_type(one) for one in field)
    files = _documents(source, output, part)
    if files is not None:
        check_cut(chunk_overlap)
        with executor_of(executor, address, worker_cpus, worker_gpus) as where:
            sync(
                files,
                model,
                output,
                words=chunk_words,
                watch=watch,
                as_json=as_json,
                shards=shards,
                fields=fields,
                shard_size=shard_size,
                executor=where,
                runtime=runtime,
                precision=precision,
                language=language,
                **chosen,
            )
        return
    if watch:
        raise SettingsError(f"--watch: {source} is no folder of documents")
    with executor_of(executor, address, worker_cpus, worker_gpus) as where:
        with loading("the model"):
            from ernie_search.encoding.build import make_index

        with progress("encoding", None) as bar:
            built = make_index(
                source,
                _model_for(source, model, output),
                output,
                shards=shards,
                chunk_words=chunk_words,
                chunk_overlap=chunk_overlap,
                fields=fields,
                part=_part(part),
                shard_size=shard_size,
                executor=where,
                progress=bar,
                expect=bar.expect,
                storing=lambda done: bar.of("storing")(done),
                runtime=runtime,
                precision=precision,
                language=language,
                **chosen,
            )
    with built.index:
        _show_built(source, output, built, built.index.stats(), chunk_words, as_json)


def _show_built(
    source: str,
    output: str,
    built: "Built",
    held: "IndexStats",
    chunk_words: int | None,
    as_json: bool,
) -> None:
    counts = {
        name: getattr(built, name)
        for name in ("encoded", "added", "replaced", "removed", "unchanged", "truncated", "seconds")
    }
    if as_json:
        show_stats(output, held, as_json, counts)
        return
    out = console()
    if built.up_to_date:
        out.print(f"{output}: up to date with {source}.", soft_wrap=True)
    else:
        said = ", ".join(f"{counts[name]:,} {name}" for name in ("added", "replaced", "removed", "unchanged"))
        out.print(f"{output}: passages {said}; {built.encoded:,} encoded now.", soft_wrap=True)
    if built.truncated:
        out.print(
            f"longer than the model reads, so cut: {built.truncated:,} passages; "
            + ("--chunk-words makes pieces instead." if chunk_words is None else "take fewer --chunk-words."),
            soft_wrap=True,
        )
    show_stats(output, held, as_json)
    out.print(f'Next: ernie-search search "your question" --index {output}', soft_wrap=True)


@app.command(epilog=ADD_EXAMPLE)
def add(
    index: Where,
    source: Annotated[str, typer.Argument(help="A BEIR folder, 'api:', or 'api:numpy,scipy'.")],
    model: Annotated[str, typer.Option(help="The model that made the index.")],
    chunk_words: ChunkWords = None,
    chunk_overlap: ChunkOverlap = 0,
    runtime: Runtime = "auto",
    precision: Precision = None,
    as_json: AsJson = False,
) -> None:
    """Encode a collection's passages and put them into an index; those of the same id are replaced."""
    with loading("the model"):
        from ernie_search.encoding.build import add_to_index

    with progress("adding", None) as advance:
        written = add_to_index(
            source,
            index,
            model,
            chunk_words=chunk_words,
            chunk_overlap=chunk_overlap,
            progress=advance,
            runtime=runtime,
            precision=precision,
        )
    if as_json:
        print_json({"index": index, "written": written})
    else:
        console().print(f"{index}: {written:,} passages added or replaced.", soft_wrap=True)


@app.command(epilog=DELETE_EXAMPLE)
def delete(
    index: Where,
    one: Annotated[list[str] | None, typer.Option("--id", help="A passage's id; repeat for more.")] = None,
    where: Annotated[str | None, typer.Option(help="A filter: 'lang = \"en\" and year >= 2000'.")] = None,
    as_json: AsJson = False,
) -> None:
    """Remove passages by id, or all that meet a filter."""
    from ernie_search.index import open_index, parse_filter

    if (one is None) == (where is None):
        raise SettingsError("say which passages: --id (repeat for more) or --where, one of them")
    condition = parse_filter(where) if where is not None else None
    opened = open_index(index, mode="w")
    try:
        removed = opened.delete(one, condition)
        opened.commit()
        left = len(opened)
    finally:
        opened.close()
    if as_json:
        print_json({"index": index, "removed": removed, "passages": left})
    else:
        console().print(f"{index}: {removed:,} passages removed, {left:,} left.", soft_wrap=True)


@app.command(epilog=STATS_EXAMPLE)
def stats(index: Where, as_json: AsJson = False) -> None:
    """Say what an index holds, how large it is, and how questions are answered."""
    from ernie_search.index import open_index

    opened = open_index(index, check=False)
    try:
        show_stats(index, opened.stats(), as_json)
    finally:
        opened.close()


@app.command(epilog=OPTIMIZE_EXAMPLE)
def optimize(index: Where, as_json: AsJson = False) -> None:
    """Merge small files, bring the indexes up to date, and remove what no reader needs any more."""
    from ernie_search.index import open_index

    opened = open_index(index, mode="w")
    try:
        before = opened.stats().disk_bytes
        with working(f"optimizing {index}"):
            opened.optimize()
        after = opened.stats()
    finally:
        opened.close()
    if not as_json:
        console().print(f"{binary_size(before)} before, {binary_size(after.disk_bytes)} now.")
    show_stats(index, after, as_json)


@app.command(epilog=VERIFY_EXAMPLE)
def verify(
    index: Where,
    model: Annotated[
        str | None,
        typer.Option(help="What encodes a sample again, to compare; by default the index's own model."),
    ] = None,
    sample: Annotated[int, typer.Option(help="Passages of that sample; 0 for none.", min=0)] = 32,
    as_json: AsJson = False,
) -> None:
    """Check every checksum, count and row, and a sample of vectors. Exit code 2 if anything is wrong."""
    from ernie_search.index import open_index
    from ernie_search.index import verify as check
    from ernie_search.search.tuning import read_tuned

    encoder: Any = None
    opened = open_index(index, check=False)
    try:
        noted = opened.model_folder
        there = noted if noted is not None and noted.is_dir() else None
        chosen = model or there or opened.spec.model_ref or None
        if sample and chosen is not None:
            with loading("the model"):
                from ernie_search.encoding.opening import open_encoder

                encoder = open_encoder(chosen)
        with working(f"reading {index}"):
            found = check(opened, encoder, sample)
            try:
                read_tuned(opened)  # no file of the commit, and read by every search
            except IndexStateError as error:
                found.problems.append(str(error))
    finally:
        opened.close()
    if as_json:
        print_json(
            {
                "index": index,
                "passages": found.passages,
                "tokens": found.tokens,
                "compared": found.compared,
                "problems": found.problems,
            }
        )
    else:
        for problem in found.problems:
            console().print(problem, soft_wrap=True)
    if found.problems:
        raise IndexStateError(
            f"{index}: {len(found.problems)} problems found, the first: {found.problems[0]}; "
            "restore the index from a copy or make it again"
        )
    if not as_json:
        compared = f", {found.compared} of them encoded again" if found.compared else ""
        if sample and encoder is None:
            compared = (
                f"; no vector compared, as {opened.model_name} is not where it was: name it with --model"
            )
        console().print(
            f"{index}: sound. {found.passages:,} passages and {found.tokens:,} token vectors read{compared}.",
            soft_wrap=True,
        )


def show_stats(
    index: str, found: "IndexStats", as_json: bool, counts: Mapping[str, float] | None = None
) -> None:
    """Print what ``stats`` says, in JSON with ``counts``."""
    from dataclasses import asdict

    if as_json:
        print_json({"index": index, **asdict(found), **(counts or {})})
        return
    out = console()
    rows = {
        "kind": f"{found.kind}, commit {found.commit}" if found.commit else found.kind,
        "model": f"{found.model_name} ({found.model_fingerprint})",
        "passages": f"{found.passages:,} x {found.dim}",
        "vectors": found.dense_format
        + ("" if found.dense_format == "fp32" else ", the best scored again with the full ones"),
        "tokens": f"{found.tokens:,} x {found.token_dim}, {found.token_format}",
        "search": found.search + (f", {found.unindexed:,} exact beside it" if found.unindexed else ""),
        "fields": ", ".join(f"{name}:{kind}" for name, kind in found.fields.items()) or "none to filter by",
        "on disk": binary_size(found.disk_bytes),
        "in memory": binary_size(found.memory_bytes),
    }
    out.print(f"{index}:", soft_wrap=True)
    for name, value in rows.items():
        out.print(f"  {name:<10}{value}", soft_wrap=True)


def field_type(text: str) -> "tuple[str, FieldType]":
    """``year:int`` as name and type.

    Raises:
        SettingsError: it is no such pair.
    """
    from ernie_search.index.spec import FieldType

    name, _, kind = text.partition(":")
    if not name or kind not in get_args(FieldType):
        raise SettingsError(f"--field {text}: expected NAME:str, NAME:int, NAME:float or NAME:bool")
    return name, kind  # type: ignore[return-value]


def _remembered(output: str) -> str:
    """What an index was made from.

    Raises:
        SettingsError: there is no index yet, or it does not know.
    """
    from ernie_search.encoding.noted import source_from
    from ernie_search.index.lance_files import is_index, read_commit
    from ernie_search.index.opening import lance_folder, on_disk

    folder = lance_folder(output)
    if not on_disk(output) or not is_index(folder):
        raise SettingsError(
            "name what to index, a folder of documents for example: ernie-search index ./docs"
        )
    origin = read_commit(folder).origin
    if origin is None:
        raise SettingsError(f"{output}: does not know what it was made from; name that")
    return source_from(origin["source"], folder)


def _documents(source: str, output: str, part: str) -> "FilesCollection | None":
    """The folder of documents that a source names, if that is to be kept in step with an index on disk."""
    from ernie_search.data.sources import open_documents
    from ernie_search.index.opening import is_shards, on_disk

    if not on_disk(output) or part != "1/1" or is_shards(Path(source)):
        return None
    return open_documents(source)


def _model_for(source: str, model: str | None, output: str) -> str | None:
    """The model as it was named, or else the index's own or the default; None for shards."""
    from ernie_search.data.sources import SCHEME, open_collection
    from ernie_search.encoding.sync import noted_model
    from ernie_search.index.opening import is_shards

    if model is not None or is_shards(Path(source)):
        return model
    if not SCHEME.fullmatch(source):  # a path that is not there is worse than a model that is not named
        open_collection(source)
    return noted_model(output) or default_model()


def _part(text: str) -> tuple[int, int]:
    """``2/8`` as numbers."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise SettingsError(f"--part {text}: say which of how many, such as 2/8")
    return int(number), int(count)
