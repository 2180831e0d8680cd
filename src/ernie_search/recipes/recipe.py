"""A recipe: base model and stages in one YAML file, typed, with unknown names refused."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from ernie_search.errors import SettingsError
from ernie_search.files import did_you_mean
from ernie_search.recipes.given_lists import GivenLists, open_given
from ernie_search.recipes.kinds import KINDS
from ernie_search.recipes.order import check_whole, wire
from ernie_search.recipes.row_changes import check_rows, merged, split_changes
from ernie_search.recipes.stage import Stage, parse_stage, stage_names
from ernie_search.recipes.yaml_file import read_recipe
from ernie_search.training import TrainSettings

TOP = ("base", "layers", "seed", "source", "lists")
KEYS = (*TOP, "rows", "stages")
FORM = "a list such as '- warm-up: {steps: 80}'"

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to train, from what, in which stages.

    Attributes:
        name: of the shipped recipe, or the file's.
        base: hub name, directory, or the bundled base.
        layers: keep only the first so many of its layers; ``None`` keeps all.
        seed: of every stage that sets none of its own.
        source: the collection that the recipe is for; ``None`` leaves it to the caller.
        stages: in their order, which was checked.
        lists: made before, for the stages that read lists; ``None`` where stages make their own.
        rows: what single rows of an ablation set otherwise, by the row's name.
    """

    name: str
    base: str
    layers: int | None
    seed: int
    source: str | None
    stages: tuple[Stage, ...]
    lists: GivenLists | None = None
    rows: Mapping[str, Values] = field(default_factory=dict)

    @property
    def train(self) -> TrainSettings:
        """Settings of the first training of the joint model."""
        return next(stage.training for stage in self.stages if stage.training is not None)

    @property
    def single(self) -> bool:
        """Whether it is one training alone, which runs in the output folder itself."""
        return len(self.stages) == 1


def load_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a shipped recipe by its name, or a YAML file by its path.

    Args:
        name: ``squad-small``, say, or ``path/to/mine.yaml``.
        overrides: ``base``, ``layers``, ``seed``, ``source``, ``lists``; ``stage.key`` for a setting of a
            stage; or the bare name of a setting, where the recipe has one stage only; ``rows.row.key`` for a
            setting of one row of its ablation.

    Raises:
        SettingsError: no such recipe, broken YAML (file and line), an unknown or unfitting setting, or
            stages in an order that cannot work, or lists that no stage reads.
        StorageError, DataError: the lists that it names are not there, or were altered.
    """
    values = read_recipe(name)
    given, row_changes = split_changes(overrides or {})
    written = _written(name, values)
    top: Values = {key: values[key] for key in TOP if values.get(key) is not None}
    own_seed = "seed" in given
    top |= {key: given.pop(key) for key in TOP if key in given}
    base, layers, seed, source, folder = _top(name, top)
    try:
        names = stage_names([key for key, _ in written])
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from error
    changes = _changes(given, [stage for stage, _ in names], dict(names))
    stages = []
    for (stage, kind), (_, settings) in zip(names, written, strict=True):
        inherited: Values = {"seed": seed, "base": base, "layers": layers}
        known = KINDS[kind].settings.model_fields
        defaults = {key: value for key, value in inherited.items() if key in known and value is not None}
        if own_seed and len(names) == 1:  # the one stage's seed is what a bare seed means
            settings = {key: value for key, value in settings.items() if key != "seed"}
        stages.append(_stage(name, stage, kind, {**defaults, **settings}, changes.get(stage, {})))
    lists = None if folder is None else open_given(folder)
    try:
        check_whole(stages, wire(stages, lists), lists)
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from error
    try:
        rows = check_rows(merged(values.get("rows"), row_changes), stages[-1])
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from error
    return Recipe(name, base, layers, seed, source, tuple(stages), lists, rows)


def _written(name: str, values: Any) -> list[tuple[str, Values]]:
    """The stages as they stand in the file: what they are called, and their settings."""
    if not isinstance(values, dict):
        raise SettingsError(f"{name}: a recipe is a mapping with the keys {', '.join(KEYS)}")
    for key in values:
        if key not in KEYS:
            raise SettingsError(f"{name}: unknown key {key!r}{did_you_mean(str(key), KEYS)}")
    stages = values.get("stages")
    if not isinstance(stages, list) or not stages:
        raise SettingsError(f"{name}: stages={stages!r}: a recipe needs stages, {FORM}")
    found = []
    for one in stages:
        if isinstance(one, str):
            one = {one: {}}
        if not isinstance(one, dict) or len(one) != 1:
            raise SettingsError(f"{name}: {one!r} is no stage; stages are {FORM}")
        ((key, settings),) = one.items()
        if not isinstance(settings or {}, dict):
            raise SettingsError(f"{name}: stage {key!r} has {settings!r} for settings; stages are {FORM}")
        found.append((str(key), dict(settings or {})))
    return found


def _top(name: str, top: Values) -> tuple[str, int | None, int, str | None, Path | None]:
    """Base, layers, seed, source and the folder of lists, checked."""
    base, layers, seed, source, lists = (top.get(key) for key in TOP)
    if base is None:
        raise SettingsError(
            f"{name}: names no base to start from; give one with --base: a model's directory, or a hub name"
        )
    if not isinstance(base, str):
        raise SettingsError(f"{name}: base={base!r} is not a model name; give a hub name or a directory")
    if layers is not None and not str(layers).isdecimal():
        raise SettingsError(f"{name}: layers={layers!r} is not a number of layers; give a whole number")
    if seed is not None and not str(seed).isdecimal():
        raise SettingsError(f"{name}: seed={seed!r} is not a seed; give a whole number, 0 or above")
    if source is not None and not isinstance(source, str):
        raise SettingsError(f"{name}: source={source!r} is not a collection; give a BEIR folder or 'api:'")
    if lists is not None and not isinstance(lists, str | PathLike):
        raise SettingsError(f"{name}: lists={lists!r} is no folder; name the one that mine or score wrote")
    folder = None if lists is None else Path(lists)
    return base, None if layers is None else int(layers), int(seed or 0), source, folder


def _changes(given: Values, names: list[str], kinds: dict[str, str]) -> dict[str, Values]:
    """Overrides by stage."""
    changes: dict[str, Values] = {}
    for key, value in given.items():
        stage, dot, setting = str(key).partition(".")
        if dot:
            if stage not in names:
                raise SettingsError(f"{key}: unknown stage {stage!r}{did_you_mean(stage, names)}")
        elif len(names) == 1:
            stage, setting = names[0], str(key)
        else:
            own = [one for one in names if key in KINDS[kinds[one]].settings.model_fields]
            if own:
                raise SettingsError(
                    f"setting {key!r}: the recipe has {len(names)} stages; say whose, as in {own[-1]}.{key}"
                )
            raise SettingsError(
                f"unknown setting {key!r}{did_you_mean(str(key), [*TOP, *(f'{n}.' for n in names)])}"
            )
        known = list(KINDS[kinds[stage]].settings.model_fields)
        if setting not in known:
            near = did_you_mean(setting, known if dot else [*TOP, *known])
            where = f"stage {stage!r}: " if dot else ""
            raise SettingsError(f"{where}unknown setting {setting!r}{near}")
        changes.setdefault(stage, {})[setting] = value
    return changes


def _stage(name: str, stage: str, kind: str, values: Values, changes: Values) -> Stage:
    """A stage with its overrides; a fault of the recipe itself names the recipe."""
    try:
        return Stage(stage, kind, parse_stage(kind, {**values, **changes}))
    except SettingsError:
        try:
            parse_stage(kind, values)
        except SettingsError as error:
            raise SettingsError(f"{name}: stage {stage!r}: {error}") from error
        raise
