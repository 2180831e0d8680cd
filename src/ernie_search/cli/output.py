"""What the commands share in printing: the console, JSON, progress with time left, sizes for people."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text for people.")]
"""The option that every command with figures has."""

PIPE_WIDTH = 120
"""Columns of a table that goes into a file or a pipe, where no terminal says how wide it is."""


def console(*, stderr: bool = False) -> "Console":
    """A console that prints text as it stands: no markup, no emoji codes, no highlighting of numbers."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream, markup=False, emoji=False, highlight=False, width=None if stream.isatty() else PIPE_WIDTH
    )


def print_json(value: Any) -> None:
    """``value`` as indented JSON on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def progress(what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr with count, speed and time left; nothing where stderr is no terminal.

    Yields:
        A function to call with the number of items done since its last call.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    where = console(stderr=True)
    with Progress(*columns, console=where, transient=True, disable=not where.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on stderr while something takes seconds; nothing where stderr is no terminal."""
    where = console(stderr=True)
    if not where.is_terminal:
        yield
        return
    with where.status(what):
        yield


def gibibytes(size: float) -> str:
    """A number of bytes as ``1.5 GiB``."""
    return f"{size / 2**30:.1f} GiB"
