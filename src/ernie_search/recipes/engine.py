"""Runs a stage: skipped when done, gone on with when interrupted, refused when it is another one."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from ernie_search.data import Collection
from ernie_search.errors import StorageError, TrainingError
from ernie_search.files import sync_tree
from ernie_search.hardware import forget_peak_memory, peak_memory
from ernie_search.recipes.manifest import StageManifest, checksums, versions
from ernie_search.recipes.order import Inputs
from ernie_search.recipes.stage import Stage

Observer = Callable[[str, dict[str, Any]], None]
"""Told of ``stage`` (one begins: name, kind, state), ``stage-done`` (name, seconds), ``progress`` (what,
done, total), and of everything that a training tells."""

PEAK = "peak_bytes"
"""Of a manifest's counts: main memory that the process held at most in the call that finished the stage; with
all that it held before, such as the libraries, but not what other processes of the stage held."""

State = Literal["done", "goes on", "to do"]


@dataclass(frozen=True, slots=True)
class Given:
    """What a stage gets from before it.

    Attributes:
        model: directory of the model to start from, or the recipe's base.
        layers: to keep of the base; ``None`` for a directory of an earlier stage.
        lists: folder of lists.
        teacher: folder of teachers, or the name of a ready cross-encoder.
        frozen: directory of a frozen late-interaction teacher.
    """

    model: str
    layers: int | None = None
    lists: Path | None = None
    teacher: Path | str | None = None
    frozen: Path | None = None


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


def state_of(folder: Path) -> State:
    """How far the stage in ``folder`` is, by its files alone."""
    if StageManifest.read(folder) is not None:
        return "done"
    return "goes on" if folder.is_dir() and any(folder.iterdir()) else "to do"


def done_as(stage: Stage, folder: Path, inputs: Mapping[str, Any]) -> StageManifest | None:
    """The manifest of a stage that was done as it is asked for now; ``None`` if it is not done.

    Raises:
        TrainingError: it was done with other settings or from other inputs; it says which.
        StorageError: an output of it was altered or removed since.
    """
    found = StageManifest.read(folder)
    if found is None:
        return None
    redo = f"choose another output folder, or delete {folder} to do the stage again"
    changed = found.differences(_plain(stage), _plain_defaults(stage))
    if found.kind != stage.kind:
        changed.insert(0, f"kind {found.kind}, now {stage.kind}")
    if changed:
        raise TrainingError(
            f"{folder}: stage {stage.name!r} was done with other settings ({'; '.join(changed)}); {redo}"
        )
    others = sorted(
        name for name in found.inputs.keys() | inputs.keys() if found.inputs.get(name) != inputs.get(name)
    )
    if others:
        said = "; ".join(f"{name} {found.inputs.get(name)}, now {inputs.get(name)}" for name in others)
        raise TrainingError(f"{folder}: stage {stage.name!r} was made from something else ({said}); {redo}")
    problem = found.altered(folder)
    if problem:
        raise StorageError(
            f"{problem}, after stage {stage.name!r} was done; put it back, or delete {folder} "
            "and what was made from it"
        )
    return found


def perform(task: Task, inputs: Mapping[str, Any], work: Work) -> StageManifest:
    """Do a stage, or find it done; its manifest is written last.

    Args:
        task: what to do.
        inputs: fingerprints of what it reads, by what it is.
        work: of the stage's kind.

    Raises:
        ErnieSearchError: as :func:`done_as`, and whatever the work refuses.
    """
    stage, folder = task.stage, task.folder
    found = done_as(stage, folder, inputs)
    if found is not None:
        return found
    task.observer("stage", {"name": stage.name, "kind": stage.kind, "state": state_of(folder)})
    counts_peak = forget_peak_memory()
    started = time.monotonic()
    done = work(task)
    seconds = time.monotonic() - started if done.seconds is None else done.seconds
    peak = peak_memory() if counts_peak else None
    sync_tree(folder)
    seed = getattr(stage.settings, "seed", None)
    manifest = StageManifest(
        stage.name,
        stage.kind,
        _plain(stage),
        dict(inputs),
        done.gives,
        checksums(folder, done.outputs),
        dict(done.counts) | ({} if peak is None else {PEAK: peak}),
        versions(),
        round(seconds, 2),
        seed,
    )
    manifest.write(folder)
    task.observer("stage-done", {"name": stage.name, "seconds": manifest.seconds})
    return manifest


def given_by(
    inputs: Inputs,
    made: Mapping[str, StageManifest],
    folders: Mapping[str, Path],
    base: str,
    layers: int | None,
) -> Given:
    """Where the inputs of a stage lie."""

    def place(name: str | None) -> Path | None:
        return None if name is None else folders[name] / made[name].gives

    model = place(inputs.model)
    teacher: Path | str | None = place(inputs.teacher)
    if inputs.teacher is not None and made[inputs.teacher].settings.get("use"):
        teacher = made[inputs.teacher].gives
    return Given(str(model or base), None if model else layers, place(inputs.lists), teacher, frozen=model)


def fingerprints(
    stage: Stage,
    inputs: Inputs,
    made: Mapping[str, StageManifest],
    collection: str,
    base: str,
    layers: int | None,
) -> dict[str, Any]:
    """What makes a stage's inputs others: the collection, and either earlier stages or the base."""
    found: dict[str, Any] = {"collection": collection}
    if stage.training is not None and inputs.model is None:
        found |= {"base": base, "layers": layers}
    return found | {what: made[name].fingerprint for what, name in inputs.named.items()}


def _plain(stage: Stage) -> dict[str, Any]:
    return stage.settings.model_dump(mode="json")


def _plain_defaults(stage: Stage) -> dict[str, Any]:
    fields = type(stage.settings).model_fields
    return {name: one.get_default() for name, one in fields.items() if not one.is_required()}
