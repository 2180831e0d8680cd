"""Execution of a recipe in one folder: finished stages are skipped, interrupted ones resumed."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import eq
from pathlib import Path
from typing import Any, Literal

from ernie_search._util.files import atomic_directory, read_json, sync_tree, write_json
from ernie_search._util.hardware import forget_peak_memory, peak_memory
from ernie_search.data import Collection
from ernie_search.data.collection import hold
from ernie_search.errors import StorageError, TrainingError
from ernie_search.pipeline.manifest import StageManifest, records, versions
from ernie_search.pipeline.recipe import Recipe
from ernie_search.pipeline.stage import (
    READY_FINGERPRINT,
    Done,
    GivenLists,
    InputPaths,
    Inputs,
    Observer,
    Stage,
    Task,
)
from ernie_search.pipeline.subprocess_stage import PEAK, in_subprocess
from ernie_search.teacher.train import check_same_data
from ernie_search.training import TrainResult
from ernie_search.training.folder import model_identity, read_result, same_model
from ernie_search.training.joint import ignore_event
from ernie_search.training.settings import UNRELATED
from ernie_search.training.world import World, share_failures

MODEL = "model"
ORIGIN_FILE = "recipe.json"
"""In the final model's folder: the stage that it was copied from."""
MODELS = ("base", "use", "late")
"""Inputs of stages that are identities of models."""
PAUSE = 0.5
"""Seconds between two checks for a manifest that another process writes."""

AnyStage = Stage[Any]
State = Literal["done", "resumes", "to do"]


def train_recipe(
    recipe: Recipe, collection: Collection, output: Path, observer: Observer | None = None
) -> TrainResult:
    """:func:`run_recipe`, with how its last training ended; ``model`` is the final model.

    Raises:
        ErnieSearchError: see :func:`run_recipe`.
    """
    model = run_recipe(recipe, collection, output, observer)
    folder = folder_of(recipe, output, recipe.last_training)
    result = read_result(folder)
    if result is None:
        raise StorageError(f"{folder}: its result is gone; delete the folder and run again")
    return replace(result, model=model)


def run_recipe(
    recipe: Recipe, collection: Collection, output: Path, observer: Observer | None = None
) -> Path:
    """Run all stages of a recipe, or what is left of them; the same call resumes after any interruption.

    Started in several processes (``torchrun``), they share the trainings; see :func:`perform`.

    Args:
        recipe: what to do.
        collection: with a ``train`` split; read from disk once where it is small.
        output: the pipeline's folder: one folder a stage, and ``model``; with a single stage, that stage's.
        observer: called with every event.

    Returns:
        The directory of the final model: the best of the last training.

    Raises:
        TrainingError: a stage in the folder is of other settings or other inputs.
        StorageError: an output of a stage was altered; the disk refused.
        ErnieSearchError: whatever a stage refuses.
    """
    if output.exists() and not output.is_dir():
        raise StorageError(f"{output}: is a file; choose a folder")
    folders = {stage.name: folder_of(recipe, output, stage) for stage in recipe.stages}
    finished = run_stages(recipe, len(recipe.stages), collection, folders, observer).manifests
    last = recipe.last_training.name
    if recipe.single:
        return folders[last] / finished[last].gives
    if World.launched().is_main:
        _publish(finished[last], folders[last], output / MODEL)
    else:
        _await_model(finished[last], output / MODEL)
    return output / MODEL


@dataclass(slots=True)
class FinishedStages:
    """The finished stages of a recipe, and where their outputs lie.

    Attributes:
        recipe: of the stages.
        data: fingerprint of the collection.
        folders: of the stages, by name.
        manifests: of those that are finished, by name.
        base: identity of the weights of the recipe's base.
        frozen: manifest of a frozen late-interaction teacher, and its directory.
    """

    recipe: Recipe
    data: str
    folders: dict[str, Path]
    manifests: dict[str, StageManifest]
    base: str
    frozen: tuple[StageManifest, Path] | None = None

    @staticmethod
    def none(recipe: Recipe, collection: Collection, folders: Mapping[str, Path]) -> "FinishedStages":
        """No finished stage yet."""
        return FinishedStages(recipe, collection.fingerprint, dict(folders), {}, model_identity(recipe.base))

    def input_paths(self, inputs: Inputs) -> InputPaths:
        """Paths of the inputs of a stage."""

        def place(name: str | None) -> Path | None:
            return None if name is None else self.folders[name] / self.manifests[name].gives

        model = place(inputs.model)
        teacher: Path | str | None = place(inputs.teacher)
        ready = None
        if inputs.teacher is not None:
            taken = self.manifests[inputs.teacher]
            ready = taken.counts.get(READY_FINGERPRINT)
            teacher = teacher if ready is None else taken.gives
        lists = inputs.lists.folder if isinstance(inputs.lists, GivenLists) else place(inputs.lists)
        frozen = model if self.frozen is None else self.frozen[1]
        layers = None if model else self.recipe.layers
        return InputPaths(str(model or self.recipe.base), layers, lists, teacher, frozen, ready)

    def fingerprints(self, stage: AnyStage, inputs: Inputs) -> dict[str, Any]:
        """Fingerprints of all inputs of a stage: the collection, earlier stages, the base, given lists."""
        found: dict[str, Any] = {"collection": self.data, **stage.sources}
        if stage.training is not None and inputs.model is None:
            found |= {"base": self.base, "layers": self.recipe.layers}
        if isinstance(inputs.lists, GivenLists):
            found["lists"] = inputs.lists.fingerprint
        if self.frozen is not None:
            found["frozen"] = self.frozen[0].fingerprint
        return found | {what: self.manifests[name].fingerprint for what, name in inputs.named.items()}


def run_stages(
    recipe: Recipe,
    number: int,
    collection: Collection,
    folders: Mapping[str, Path],
    observer: Observer | None = None,
) -> FinishedStages:
    """Run the first ``number`` stages of a recipe, each in its folder.

    Raises:
        DataError: the recipe's lists are of another collection.
        ModelError: attention is to teach, and teacher and student have other tokenizers.
        ErnieSearchError: see :func:`run_recipe`.
    """
    collection = hold(collection)
    check_before(recipe, collection, number)
    made = FinishedStages.none(recipe, collection, folders)
    for stage, inputs in zip(recipe.stages[:number], recipe.inputs[:number], strict=True):
        task = Task(collection, folders[stage.name], made.input_paths(inputs), observer or ignore_event)
        made.manifests[stage.name] = perform(stage, task, made.fingerprints(stage, inputs))
    return made


def check_before(recipe: Recipe, collection: Collection, number: int) -> None:
    """Refuse before the first stage what one of the first ``number`` stages would refuse hours later.

    Raises:
        DataError: the recipe's lists are of another collection.
        ModelError: see :func:`check_stages`.
    """
    if recipe.lists is not None:
        check_same_data(recipe.lists.lists, collection)
    check_stages(recipe.stages[:number], recipe.inputs[:number], recipe.base)


def check_stages(stages: Sequence[AnyStage], inputs: Sequence[Inputs], base: str) -> None:
    """Let each stage refuse the teacher that it will be given.

    Args:
        stages: in their order.
        inputs: of each.
        base: of the recipe's model.

    Raises:
        ModelError: attention is to teach, and teacher and student have other tokenizers.
    """
    teachers = {stage.name: stage.teacher for stage in stages}
    for stage, one in zip(stages, inputs, strict=True):
        stage.check(base, None if one.teacher is None else teachers[one.teacher])


def folder_of(recipe: Recipe, output: Path, stage: AnyStage) -> Path:
    """The folder of a stage; a recipe with one stage has it in the output folder itself."""
    return output if recipe.single else output / stage.name


def state_of(folder: Path) -> State:
    """State of the stage in ``folder``, by its files alone."""
    if StageManifest.read(folder) is not None:
        return "done"
    return "resumes" if folder.is_dir() and any(folder.iterdir()) else "to do"


def done_as(stage: AnyStage, folder: Path, inputs: Mapping[str, Any]) -> StageManifest | None:
    """The manifest of a finished stage with these settings and inputs; ``None`` if it is not finished.

    Raises:
        TrainingError: it was done with other settings or from other inputs; it says which.
        StorageError: an output of it was altered or removed since.
    """
    found = StageManifest.read(folder)
    if found is None:
        return None
    redo = f"choose another output folder, or delete {folder} to do the stage again"
    changed = found.differences(stage.settings.model_dump(mode="json", exclude=UNRELATED))
    if found.kind != stage.kind:
        changed.insert(0, f"kind {found.kind}, now {stage.kind}")
    if changed:
        raise TrainingError(
            f"{folder}: stage {stage.name!r} was done with other settings ({'; '.join(changed)}); {redo}"
        )
    compared = (found.inputs.keys() | inputs.keys()) - (set(stage.noted_since) - found.inputs.keys())
    others = sorted(
        name
        for name in compared
        if not (same_model if name in MODELS else eq)(found.inputs.get(name), inputs.get(name))
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


def perform(stage: AnyStage, task: Task, inputs: Mapping[str, Any]) -> StageManifest:
    """Execute a stage unless it is finished; its manifest is written last.

    Of several processes (``torchrun``) all share a training; any other stage is executed for the first of
    them, in a process of its own, and the others wait for its manifest in the folder, which all must see.

    Args:
        stage: of a recipe.
        task: what it is executed on.
        inputs: fingerprints of what it reads, by what it is.

    Raises:
        ErnieSearchError: as :func:`done_as`, and whatever the stage refuses.
    """
    world = World.launched()
    found = done_as(stage, task.folder, inputs)
    if found is not None:
        return found
    if world.size == 1:
        return _executed(stage, task, inputs, stage.execute)
    if stage.shared:
        if world.is_main:
            return _executed(stage, task, inputs, stage.execute)
        stage.execute(task)
        return _awaited(stage, task.folder, inputs)
    with share_failures(task.folder, world):
        if world.is_main:
            return _executed(stage, task, inputs, lambda task: in_subprocess(stage, task))
        return _awaited(stage, task.folder, inputs)


def _executed(
    stage: AnyStage, task: Task, inputs: Mapping[str, Any], execute: Callable[[Task], Done]
) -> StageManifest:
    """Execute the stage, report it to the observer, and write its manifest."""
    folder = task.folder
    about = {"name": stage.name, "kind": stage.kind}
    task.observer("stage", about | {"state": state_of(folder)})
    counts_peak = forget_peak_memory()
    started = time.monotonic()
    done = execute(task)
    seconds = time.monotonic() - started if done.seconds is None else done.seconds
    peak = peak_memory() if counts_peak else None
    sync_tree(folder)
    manifest = StageManifest(
        name=stage.name,
        kind=stage.kind,
        settings=stage.settings.model_dump(mode="json", exclude=UNRELATED),
        inputs=dict(inputs),
        gives=done.gives,
        outputs=records(folder, done.outputs) | records(folder, done.timed, timed=True),
        counts=({} if peak is None else {PEAK: peak}) | dict(done.counts),
        versions=versions(),
        seconds=round(seconds, 2),
        seed=getattr(stage.settings, "seed", None),
    )
    manifest.write(folder)
    reported = [
        f"{manifest.counts[name]:,} {said}" for name, said in stage.reported if manifest.counts.get(name)
    ]
    task.observer(
        "stage-done", about | {"seconds": manifest.seconds, "counts": manifest.counts, "reported": reported}
    )
    return manifest


def _awaited(stage: AnyStage, folder: Path, inputs: Mapping[str, Any]) -> StageManifest:
    """Wait for the manifest that rank 0 writes; if rank 0 dies, the launcher ends this process, too."""
    while True:
        found = done_as(stage, folder, inputs)
        if found is not None:
            return found
        time.sleep(PAUSE)


def _publish(made: StageManifest, folder: Path, target: Path) -> None:
    """Copy the last training's model to ``target``, unless it is there; one altered by hand is refused."""
    origin = _origin(made)
    if (target / ORIGIN_FILE).is_file():
        if read_json(target / ORIGIN_FILE) == origin:
            inside = {
                name: one for name, one in made.checked.items() if Path(name).is_relative_to(made.gives)
            }
            for name, record in inside.items():
                path = target / Path(name).relative_to(made.gives)
                if record.problem(path):
                    raise StorageError(
                        f"{path} was altered or removed since it was copied from stage {made.name!r}; "
                        f"delete {target} and run again"
                    )
            return
    elif target.exists():
        raise StorageError(f"{target}: stands there, and is no model of a recipe; move it away and run again")
    with atomic_directory(target) as fresh:
        shutil.copytree(folder / made.gives, fresh, dirs_exist_ok=True)  # with the files' times
        write_json(fresh / ORIGIN_FILE, origin)


def _await_model(made: StageManifest, target: Path) -> None:
    """Wait until another process has copied the model; if it fails, the launcher ends this one, too."""
    while not (target / ORIGIN_FILE).is_file() or read_json(target / ORIGIN_FILE) != _origin(made):
        time.sleep(PAUSE)


def _origin(made: StageManifest) -> dict[str, str]:
    return {"stage": made.name, "fingerprint": made.fingerprint}
