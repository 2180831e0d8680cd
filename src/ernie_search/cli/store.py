"""The ``index`` commands that need no model: delete, stats, optimize, verify."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from ernie_search.cli.output import AsJson, binary_size, console, loading, print_json, working
from ernie_search.errors import IndexStateError, SettingsError

if TYPE_CHECKING:
    from ernie_search.index import StoreStats
    from ernie_search.index.spec import FieldType

DELETE_EXAMPLE = "Example: ernie-search index delete runs/store --where 'year < 2000'"
STATS_EXAMPLE = "Example: ernie-search index stats runs/store"
OPTIMIZE_EXAMPLE = "Example: ernie-search index optimize runs/store"
VERIFY_EXAMPLE = "Example: ernie-search index verify runs/store --model runs/mine/best"

Where = Annotated[str, typer.Argument(help="The store: a folder, or qdrant+http://host:6333/name.")]


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
    store = open_index(index, mode="w")
    try:
        removed = store.delete(one, condition)
        store.commit()
        left = len(store)
    finally:
        store.close()
    if as_json:
        print_json({"index": index, "removed": removed, "passages": left})
    else:
        console().print(f"{index}: {removed:,} passages removed, {left:,} left.", soft_wrap=True)


def stats(index: Where, as_json: AsJson = False) -> None:
    """Say what a store holds, how large it is, and how questions are answered."""
    from ernie_search.index import open_index

    store = open_index(index, check=False)
    try:
        show_stats(index, store.stats(), as_json)
    finally:
        store.close()


def optimize(index: Where, as_json: AsJson = False) -> None:
    """Merge small files, bring the indexes up to date, and remove what no reader needs any more."""
    from ernie_search.index import open_index

    store = open_index(index, mode="w")
    try:
        before = store.stats().disk_bytes
        with working(f"optimizing {index}"):
            store.optimize()
        after = store.stats()
    finally:
        store.close()
    if not as_json:
        console().print(f"{binary_size(before)} before, {binary_size(after.disk_bytes)} now.")
    show_stats(index, after, as_json)


def verify(
    index: Where,
    model: Annotated[
        Path | None,
        typer.Option(help="What encodes a sample again, to compare; by default the store's own model."),
    ] = None,
    sample: Annotated[int, typer.Option(help="Passages of that sample; 0 for none.", min=0)] = 32,
    as_json: AsJson = False,
) -> None:
    """Check every checksum, count and row, and a sample of vectors. Exit code 2 if anything is wrong."""
    from ernie_search.index import open_index, recorded_model
    from ernie_search.index import verify as check

    encoder: Any = None
    store = open_index(index, check=False)
    try:
        chosen = model or recorded_model(store, index)
        if sample and chosen is not None:
            with loading("the model"):
                from ernie_search.model import load

                encoder = load(chosen)
        with working(f"reading {index}"):
            found = check(store, encoder, sample)
    finally:
        store.close()
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
            "restore the store from a copy or build it again"
        )
    if not as_json:
        compared = f", {found.compared} of them encoded again" if found.compared else ""
        if sample and encoder is None:
            compared = (
                f"; no vector compared, as {store.model_name} is not where it was: name it with --model"
            )
        console().print(
            f"{index}: sound. {found.passages:,} passages and {found.tokens:,} token vectors read{compared}.",
            soft_wrap=True,
        )


def show_stats(index: str, found: "StoreStats", as_json: bool) -> None:
    """Print what ``stats`` says."""
    from dataclasses import asdict

    if as_json:
        print_json({"index": index, **asdict(found)})
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
