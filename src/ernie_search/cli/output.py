"""What the commands share in printing: the console, JSON, progress with time left, sizes for people."""

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ernie_search._util.files import json_text
from ernie_search._util.words import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text for people.")]
"""The option that every command with figures has."""

PIPE_WIDTH = 120
"""Columns of a table that goes into a file or a pipe, where no terminal says how wide it is."""


class PlainConsole(Console):
    """Shows control characters in whatever it prints as escapes; styles and bars are its own and work."""

    def render_str(self, text: str, **options: Any) -> Text:
        """A string as text, escaped before it is measured."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is to be written of tables, texts and bars."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def console(*, stderr: bool = False) -> Console:
    """A console that prints text as it stands: no markup, no emoji codes, no highlighting of numbers."""
    stream = sys.stderr if stderr else sys.stdout
    return PlainConsole(
        file=stream, markup=False, emoji=False, highlight=False, width=None if stream.isatty() else PIPE_WIDTH
    )


def print_json(value: Any) -> None:
    """``value`` as indented JSON on stdout; characters that its encoding lacks are escaped."""
    sys.stdout.write(json_text(value, sys.stdout.encoding or "utf-8") + "\n")


def print_line(text: str) -> None:
    """One line on stdout that is not wrapped, whatever line ends are in the names that it tells."""
    console().print(printable(text, one_line=True), soft_wrap=True)


def replace_what_cannot_be_written() -> None:
    """Let stdout and stderr write an escape for a character that their encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class Advance:
    """Moves a bar on: called with the number of items done since its last call."""

    def __init__(self, bar: "Progress", task: "TaskID") -> None:
        self._bar, self._task = bar, task

    def __call__(self, done: int) -> None:
        """So many more."""
        self._bar.advance(self._task, done)

    def of(self, what: str) -> "Advance":
        """The bar, counting from 0 again where it was of something else."""
        if self._bar.tasks[self._task].description != what:
            self._bar.update(self._task, description=what, completed=0, total=None)
        return self

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

    described = TextColumn("{task.description}", markup=False)
    columns = (described, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
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
    with where.status(Text(printable(what, one_line=True))):
        yield


def binary_size(size: float) -> str:
    """A number of bytes as ``1.5 GiB``, or below one of these as ``300.5 MiB``."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def quiet_libraries() -> None:
    """Only errors from transformers and sentence-transformers, and no bars ("Loading weights") of theirs."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else a fork after tokenizing warns
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # It tells of mean pooling for a bare encoder, which is not what we then take.
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)


@contextlib.contextmanager
def loading(what: str) -> Iterator[None]:
    """A spinner while a model loads, quietly. Every command that loads one does it in here."""
    with working(f"loading {what}"):
        quiet_libraries()
        yield
