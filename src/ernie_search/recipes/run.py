"""A whole recipe in one folder: all stages in their order, and the final model."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ernie_search.data import Collection
from ernie_search.errors import StorageError
from ernie_search.files import atomic_directory, read_json, sha256_file, write_json
from ernie_search.recipes.attention_teacher import check_attention_teachers
from ernie_search.recipes.engine import PAUSE, fingerprints, given_by, perform
from ernie_search.recipes.given_lists import GivenLists
from ernie_search.recipes.manifest import StageManifest, weights_identity
from ernie_search.recipes.order import wire
from ernie_search.recipes.recipe import Recipe
from ernie_search.recipes.stage import Stage
from ernie_search.recipes.task import Observer, Task, Work
from ernie_search.recipes.work import WORK
from ernie_search.teacher.train import check_same_data
from ernie_search.training import TrainResult
from ernie_search.training.folder import read_result
from ernie_search.training.world import World

MODEL = "model"
ORIGIN_FILE = "recipe.json"
"""In the final model: which stage of which recipe it is of."""


def _silent(event: str, values: dict[str, object]) -> None:
    """The observer of whoever gives none."""


def folder_of(recipe: Recipe, output: Path, stage: Stage) -> Path:
    """Where a stage runs: a recipe of one stage in the output folder itself."""
    return output if recipe.single else output / stage.name


def run_recipe(
    recipe: Recipe,
    collection: Collection,
    output: Path,
    observer: Observer | None = None,
    *,
    works: Mapping[str, Work] = WORK,
) -> Path:
    """Run all stages of a recipe, or what is left of them; the same call goes on after any interruption.

    Started in several processes (``torchrun``), they share the trainings; see
    :func:`~ernie_search.recipes.engine.perform`.

    Args:
        recipe: what to do.
        collection: with a ``train`` split.
        output: folder of the run: one folder a stage, and ``model``; with a single stage, that stage's.
        observer: told of every event.
        works: what does a stage, by its kind.

    Returns:
        The directory of the final model: the best of the last training.

    Raises:
        TrainingError: a stage in the folder is of other settings or other inputs.
        StorageError: an output of a stage was altered; the disk refused.
        ErnieSearchError: whatever a stage refuses.
    """
    if output.exists() and not output.is_dir():
        raise StorageError(f"{output}: is a file; choose a folder for the run")
    folders = {stage.name: folder_of(recipe, output, stage) for stage in recipe.stages}
    made = run_stages(
        recipe.stages,
        collection,
        folders,
        recipe.base,
        recipe.layers,
        observer or _silent,
        works,
        lists=recipe.lists,
    )
    last = last_training(recipe)
    source = folders[last.name] / made[last.name].gives
    if recipe.single:
        return source
    if World.launched().speaks:
        _publish(made[last.name], folders[last.name], output / MODEL)
    else:
        _await(made[last.name], output / MODEL)
    return output / MODEL


def train_recipe(
    recipe: Recipe, collection: Collection, output: Path, observer: Observer | None = None
) -> TrainResult:
    """:func:`run_recipe`, with how its last training ended; ``model`` is the final model.

    Raises:
        ErnieSearchError: see :func:`run_recipe`.
    """
    model = run_recipe(recipe, collection, output, observer)
    folder = folder_of(recipe, output, last_training(recipe))
    result = read_result(folder)
    if result is None:
        raise StorageError(f"{folder}: its result is gone; delete the folder and run again")
    return replace(result, model=model)


def last_training(recipe: Recipe) -> Stage:
    """The stage whose model is the recipe's."""
    return [stage for stage in recipe.stages if stage.training is not None][-1]


def run_stages(
    stages: Sequence[Stage],
    collection: Collection,
    folders: Mapping[str, Path],
    base: str,
    layers: int | None,
    observer: Observer,
    works: Mapping[str, Work] = WORK,
    *,
    lists: GivenLists | None = None,
) -> dict[str, StageManifest]:
    """Run stages, each in its folder; their manifests by name.

    Raises:
        DataError: ``lists`` of another collection.
        ModelError: attention is to teach, and teacher and student have other tokenizers.
        ErnieSearchError: see :func:`run_recipe`.
    """
    if lists is not None:
        check_same_data(lists.lists, collection)
    check_attention_teachers(stages, base, lists)
    made: dict[str, StageManifest] = {}
    identity, data = weights_identity(base), collection.fingerprint
    for stage, inputs in zip(stages, wire(stages, lists), strict=True):
        given = given_by(inputs, made, folders, base, layers)
        read = fingerprints(stage, inputs, made, data, identity, layers)
        task = Task(stage, collection, folders[stage.name], given, observer)
        made[stage.name] = perform(task, read, works[stage.kind])
    return made


def _publish(made: StageManifest, folder: Path, target: Path) -> None:
    """Copy the last training's model to ``target``, unless it is there; one altered by hand is refused."""
    outputs = {
        str(Path(name).relative_to(made.gives)): digest
        for name, digest in made.outputs.items()
        if Path(name).is_relative_to(made.gives)
    }
    origin = _origin(made)
    if (target / ORIGIN_FILE).is_file():
        if read_json(target / ORIGIN_FILE) == origin:
            for name, digest in outputs.items():
                path = target / name
                if not path.is_file() or sha256_file(path) != digest:
                    raise StorageError(
                        f"{path} was altered or removed since it was copied from stage {made.name!r}; "
                        f"delete {target} and run again"
                    )
            return
    elif target.exists():
        raise StorageError(f"{target}: stands there, and is no model of a recipe; move it away and run again")
    with atomic_directory(target) as fresh:
        shutil.copytree(folder / made.gives, fresh, dirs_exist_ok=True)
        write_json(fresh / ORIGIN_FILE, origin)


def _await(made: StageManifest, target: Path) -> None:
    """Wait until another process has copied the model; if it fails, the launcher ends this one, too."""
    while not (target / ORIGIN_FILE).is_file() or read_json(target / ORIGIN_FILE) != _origin(made):
        time.sleep(PAUSE)


def _origin(made: StageManifest) -> dict[str, str]:
    return {"stage": made.name, "fingerprint": made.fingerprint}
