"""``ernie-search mcp``: indexes as tools of an assistant, by the Model Context Protocol."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ernie_search.cli.output import console, loading
from ernie_search.cli.searching import NEAREST_INDEX, ModeOption, QuestionPrecision, named_index
from ernie_search.errors import SettingsError

EXAMPLE = "Example: ernie-search mcp docs=.ernie-search --http 127.0.0.1:8090"


def mcp(
    indexes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INDEX]...",
            help="Indexes: folders or addresses, each alone or as NAME=INDEX, by which assistants know it.",
            show_default=NEAREST_INDEX,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The indexes' model, if it was moved: a directory or a hub name.")
    ] = None,
    mode: ModeOption = None,
    precision: QuestionPrecision = "fp32",
    max_characters: Annotated[int, typer.Option(help="Most characters of one answer.")] = 20_000,
    http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Answer over HTTP at /mcp there, not on stdin and stdout; any address but loopback "
            "needs a key. Port 0 takes a free one.",
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="API keys, one per line; also read from ERNIE_SEARCH_API_KEYS.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="A host name to accept beside loopback's, behind a proxy; may be repeated."),
    ] = None,
) -> None:
    """Let an assistant search and read: a server of the Model Context Protocol (MCP)."""
    from ernie_search.integrations.mcp import serve_http, serve_stdio  # first: the extra may be missing

    if not 1_000 <= max_characters <= 1_000_000:
        raise SettingsError(f"--max-characters {max_characters}: from 1,000 to 1,000,000")
    if mode == "cross":
        raise SettingsError("--mode cross: assistants search in words, dense, late or hybrid")
    if http is None and (api_key_file is not None or allow_host):
        raise SettingsError("--api-key-file, --allow-host: only with --http; stdin and stdout need no key")
    place = None if http is None else _place(http)
    keys = () if http is None else _keys(place, api_key_file)
    with contextlib.redirect_stdout(sys.stderr):  # which belongs to the protocol
        assistant = _assistant(indexes, max_characters, model=model, mode=mode, precision=precision)
    try:
        if place is None:
            serve_stdio(assistant)
        else:
            hosts = tuple(allow_host or ())
            serve_http(assistant, *place, keys=keys, hosts=hosts, listening=_say_where)
    finally:
        assistant.close()


def _assistant(indexes: list[str] | None, most: int, **options: Any) -> Any:
    from ernie_search.integrations.mcp import Assistant
    from ernie_search.integrations.open_index import OpenIndex, named

    addresses = named(indexes or [named_index(None)])
    opened: list[OpenIndex] = []
    with loading("the indexes and their models"):
        for name, address in addresses.items():
            shared = next((one.searcher.model for one in opened if one.searcher.has_model), None)
            opened.append(OpenIndex.sharing(name, address, shared, **options))
    return Assistant(opened, most)


def _place(http: str) -> tuple[str, int]:
    host, colon, port = http.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"--http {http}: write HOST:PORT, as in 127.0.0.1:8090")
    return host, int(port)


def _keys(place: tuple[str, int] | None, file: Path | None) -> tuple[str, ...]:
    from ernie_search.serve.settings import is_loopback, read_keys

    keys = read_keys(file)
    if place is not None and not keys and not is_loopback(place[0]):
        raise SettingsError(
            f"--http {place[0]}:{place[1]}: others can reach that address, so a key is needed; give "
            "--api-key-file FILE, or set ERNIE_SEARCH_API_KEYS"
        )
    return keys


def _say_where(address: str) -> None:
    console(stderr=True).print(f"MCP at {address}", soft_wrap=True)
