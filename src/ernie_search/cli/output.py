"""Output of all commands: console, JSON, progress bars, and sizes for people."""

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
"""The option ``--json``, which every command with figures has."""

PIPE_WIDTH = 120
"""Width of a table that is written to a file or a pipe."""


class PlainConsole(Console):
    """A console that prints control characters of data as escapes; its own styles and bars still work."""

    def render_str(self, text: str, **options: Any) -> Text:
        """See ``Console``; the text is escaped before its width is measured."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See ``Console``; text is escaped."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


def console(*, stderr: bool = False) -> Console:
    """A console without markup, emoji codes and highlighting of numbers."""
    stream = sys.stderr if stderr else sys.stdout
    return PlainConsole(
        file=stream, markup=False, emoji=False, highlight=False, width=None if stream.isatty() else PIPE_WIDTH
    )


def print_json(value: Any) -> None:
    """Print ``value`` as indented JSON; characters that stdout's encoding lacks are escaped."""
    sys.stdout.write(json_text(value, sys.stdout.encoding or "utf-8") + "\n")


def print_line(text: str) -> None:
    """Print one line without wrapping; line ends in it become spaces."""
    console().print(printable(text, one_line=True), soft_wrap=True)


def replace_what_cannot_be_written() -> None:
    """Let stdout and stderr write an escape instead of failing, for characters that their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # After a fork a stream may lead elsewhere than where Python noted its position.
            with contextlib.suppress(OSError):
                stream.reconfigure(errors="backslashreplace")


class Advance:
    """Advances a progress bar; called with the number of items done since its last call."""

    def __init__(self, bar: "Progress", task: "TaskID") -> None:
        self._bar, self._task = bar, task

    def __call__(self, done: int) -> None:
        """Advance the bar by ``done`` items."""
        self._bar.advance(self._task, done)

    def of(self, what: str) -> "Advance":
        """The bar, counting from 0 again where it was of something else."""
        if self._bar.tasks[self._task].description != what:
            self._bar.update(self._task, description=what, completed=0, total=None)
        return self

    def expect(self, total: int) -> None:
        """Set the total, if it is only known later; then the time left is shown."""
        self._bar.update(self._task, total=total)


@contextlib.contextmanager
def progress(what: str, total: int | None) -> Iterator[Advance]:
    """Show a progress bar with count and time left on stderr, if that is a terminal.

    Yields:
        A function to call with the number of items done since its last call.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    described = TextColumn("{task.description}", markup=False)
    columns = (described, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    where = console(stderr=True)
    with Progress(*columns, console=where, transient=True, disable=not where.is_terminal) as bar:
        yield Advance(bar, bar.add_task(what, total=total))


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Show a spinner on stderr, if that is a terminal."""
    where = console(stderr=True)
    if not where.is_terminal:
        yield
        return
    with where.status(Text(printable(what, one_line=True))):
        yield


def binary_size(size: float) -> str:
    """Format a number of bytes as ``1.5 GiB``, or as ``300.5 MiB`` below 1 GiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def quiet_libraries() -> None:
    """Silence transformers and sentence-transformers except for errors, and turn off their progress bars.

    Through the environment where they are not imported yet, since importing them takes seconds and a search
    may need neither.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # otherwise a fork after tokenizing warns
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if "transformers" in sys.modules:
        from transformers.utils import logging as transformers_logging

        transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # It announces mean pooling for a bare encoder, which we then do not use.
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)


@contextlib.contextmanager
def loading(what: str) -> Iterator[None]:
    """Show a spinner while a model loads, and silence the libraries; every command loads models in it."""
    with working(f"loading {what}"):
        quiet_libraries()
        yield
