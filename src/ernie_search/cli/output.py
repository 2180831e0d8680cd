"""What the commands share in printing: the console, JSON, progress with time left, sizes for people."""

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

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


class Advance:
    """Moves a bar on: called with the number of items done since its last call."""

    def __init__(self, bar: "Progress", task: "TaskID") -> None:
        self._bar, self._task = bar, task

    def __call__(self, done: int) -> None:
        """So many more."""
        self._bar.advance(self._task, done)

    def expect(self, total: int) -> None:
        """How many there are in all, where that is known only later: from here on the time left is shown."""
        self._bar.update(self._task, total=total)


@contextlib.contextmanager
def progress(what: str, total: int | None) -> Iterator[Advance]:
    """A bar on stderr with count, speed and time left; nothing where stderr is no terminal.

    Yields:
        What to call with the number of items done since its last call.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    where = console(stderr=True)
    with Progress(*columns, console=where, transient=True, disable=not where.is_terminal) as bar:
        yield Advance(bar, bar.add_task(what, total=total))


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on stderr while something takes seconds; nothing where stderr is no terminal."""
    where = console(stderr=True)
    if not where.is_terminal:
        yield
        return
    with where.status(what):
        yield


def binary_size(size: float) -> str:
    """A number of bytes as ``1.5 GiB``, or below one of these as ``300.5 MiB``."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
