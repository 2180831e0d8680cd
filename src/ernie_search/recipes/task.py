"""What a stage's work is given, what it says when it is done, and whom it tells in between."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ernie_search.data import Collection
from ernie_search.errors import ModelError
from ernie_search.recipes.stage import Stage
from ernie_search.teacher import Teachers

Observer = Callable[[str, dict[str, Any]], None]
"""Told of ``stage`` (one begins: name, kind, state), ``stage-done`` (name, kind, seconds, counts),
``progress`` (what, done, total), and of everything that a training tells."""


PEAK = "peak_bytes"
"""Of a manifest's counts: main memory that the process held at most in the call that finished the stage; with
all that it held before, such as the libraries, but not what other processes held."""

READY_FINGERPRINT = "ready_fingerprint"
"""Of a manifest's counts: what a ready cross-encoder was when it was taken."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a stage gets from before it.

    Attributes:
        model: directory of the model to start from, or the recipe's base.
        layers: to keep of the base; ``None`` for a directory of an earlier stage.
        lists: folder of lists.
        teacher: folder of teachers, or the name of a ready cross-encoder.
        frozen: directory of a frozen late-interaction teacher.
        teacher_fingerprint: of a ready cross-encoder when it was taken; ``None`` for teachers of a stage's
            own, whose folder says what they must be.
    """

    model: str
    layers: int | None = None
    lists: Path | None = None
    teacher: Path | str | None = None
    frozen: Path | None = None
    teacher_fingerprint: str | None = None

    def open_teacher(self) -> Teachers | None:
        """The teachers, if there are any.

        Raises:
            ModelError: the ready cross-encoder is no longer the one that was taken.
        """
        if self.teacher is None:
            return None
        found = Teachers.open(self.teacher)
        if self.teacher_fingerprint not in (None, found.fingerprint):
            raise ModelError(
                f"{self.teacher}: not the cross-encoder that this run began with (its fingerprint differs); "
                "put that one back, or choose another output folder"
            )
        return found


@dataclass(frozen=True, slots=True)
class Task:
    """A stage's work: what to do, on what, where."""

    stage: Stage
    collection: Collection
    folder: Path
    given: Given
    observer: Observer


@dataclass(frozen=True, slots=True)
class Done:
    """What a stage's work says when it is finished.

    Attributes:
        gives: what later stages read: a path inside the folder, or the name of a ready model.
        outputs: files and folders inside the folder that must stay as they are.
        counts: to be kept in the manifest.
        seconds: where the work knows better than the clock of the last call.
    """

    gives: str
    outputs: tuple[str, ...]
    counts: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None


class Work(Protocol):
    """Does a stage; called again after an interruption, it goes on by itself."""

    def __call__(self, task: Task, /) -> Done:
        """Do it, or what is left of it."""


class Counter:
    """Adds up what is done and tells the observer; to be handed on as ``progress``."""

    def __init__(self, observer: Observer, what: str, total: int | None = None) -> None:
        self.observer, self.what, self.total, self.done = observer, what, total, 0

    def __call__(self, more: int) -> None:
        """``more`` items are done."""
        self.done += more
        self.observer("progress", {"what": self.what, "done": self.done, "total": self.total})
