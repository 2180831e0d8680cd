"""Runs a stage: skipped when done, gone on with when interrupted, refused when it is another one."""

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ernie_search.errors import StorageError, TrainingError
from ernie_search.files import sync_tree
from ernie_search.process_memory import forget_peak_memory, peak_memory
from ernie_search.recipes.apart import apart
from ernie_search.recipes.given_lists import GivenLists
from ernie_search.recipes.manifest import StageManifest, checksums, versions
from ernie_search.recipes.order import Inputs
from ernie_search.recipes.stage import Stage
from ernie_search.recipes.task import PEAK, READY_FINGERPRINT, Given, Task, Work
from ernie_search.training.failure import one_for_all
from ernie_search.training.world import World

PAUSE = 0.5
"""Seconds between two looks for a manifest that another process writes."""

State = Literal["done", "goes on", "to do"]


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

    Of several processes (``torchrun``) all share a training; any other stage is done for the first of them,
    in a process of its own, and the others wait for its manifest in the folder, which all must see.

    Args:
        task: what to do.
        inputs: fingerprints of what it reads, by what it is.
        work: of the stage's kind.

    Raises:
        ErnieSearchError: as :func:`done_as`, and whatever the work refuses.
    """
    stage, folder, world = task.stage, task.folder, World.launched()
    found = done_as(stage, folder, inputs)
    if found is not None:
        return found
    if stage.training is not None or world.size == 1:
        return _performed(task, inputs, work, world)
    with one_for_all(folder, world):
        return _performed(task, inputs, partial(apart, work=work), world)


def _performed(task: Task, inputs: Mapping[str, Any], work: Work, world: World) -> StageManifest:
    stage, folder = task.stage, task.folder
    if not world.speaks:
        if stage.training is not None:
            work(task)
        return _awaited(stage, folder, inputs)
    task.observer("stage", {"name": stage.name, "kind": stage.kind, "state": state_of(folder)})
    counts_peak = forget_peak_memory()
    started = time.monotonic()
    done = work(task)
    seconds = time.monotonic() - started if done.seconds is None else done.seconds
    peak = peak_memory() if counts_peak else None
    sync_tree(folder)
    manifest = StageManifest(
        stage.name,
        stage.kind,
        _plain(stage),
        dict(inputs),
        done.gives,
        checksums(folder, done.outputs),
        ({} if peak is None else {PEAK: peak}) | dict(done.counts),
        versions(),
        round(seconds, 2),
        getattr(stage.settings, "seed", None),
    )
    manifest.write(folder)
    told = {"name": stage.name, "kind": stage.kind, "seconds": manifest.seconds, "counts": manifest.counts}
    task.observer("stage-done", told)
    return manifest


def _awaited(stage: Stage, folder: Path, inputs: Mapping[str, Any]) -> StageManifest:
    """What rank 0 writes at the end; if rank 0 dies, the launcher ends this process, too."""
    while True:
        found = done_as(stage, folder, inputs)
        if found is not None:
            return found
        time.sleep(PAUSE)


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
    known = None
    if inputs.teacher is not None and made[inputs.teacher].settings.get("use"):
        teacher, known = made[inputs.teacher].gives, made[inputs.teacher].counts.get(READY_FINGERPRINT)
    lists = inputs.lists.folder if isinstance(inputs.lists, GivenLists) else place(inputs.lists)
    return Given(str(model or base), None if model else layers, lists, teacher, model, known)


def fingerprints(
    stage: Stage,
    inputs: Inputs,
    made: Mapping[str, StageManifest],
    collection: str,
    base: str,
    layers: int | None,
) -> dict[str, Any]:
    """What makes a stage's inputs others: the collection, earlier stages, the base, and given lists."""
    found: dict[str, Any] = {"collection": collection}
    if stage.training is not None and inputs.model is None:
        found |= {"base": base, "layers": layers}
    if isinstance(inputs.lists, GivenLists):
        found["lists"] = inputs.lists.fingerprint
    return found | {what: made[name].fingerprint for what, name in inputs.named.items()}


def _plain(stage: Stage) -> dict[str, Any]:
    return stage.settings.model_dump(mode="json")


def _plain_defaults(stage: Stage) -> dict[str, Any]:
    fields = type(stage.settings).model_fields
    return {name: one.get_default() for name, one in fields.items() if not one.is_required()}
