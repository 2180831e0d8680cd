"""A recipe: base model and stages in one YAML file, typed, with unknown names refused."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from ernie_search._util.files import did_you_mean
from ernie_search._util.settings import parse_typed
from ernie_search.errors import SettingsError
from ernie_search.pipeline.stage import GivenLists, Inputs, Stage, stage_inputs
from ernie_search.pipeline.stages import KINDS
from ernie_search.training import TrainSettings

TOP = ("base", "layers", "seed", "source", "lists")
KEYS = (*TOP, "rows", "stages")
FORM = "a list such as '- warm-up: {steps: 80}'"
ENDINGS = (".yaml", ".yml")
NUMBERED = re.compile(r"(.+?)-([0-9]+)")
FIXED = ("steps", "seed", "questions_per_batch", "negatives", "max_questions")
"""Settings that the rows of an ablation must share to be comparable."""
WHOLE = "full"
"""The row that trains the recipe unchanged."""
ROWS = "rows."

AnyStage = Stage[Any]
Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recipe:
    """A base model, and the stages that train it.

    Attributes:
        name: of the shipped recipe, or the file's.
        base: hub name, directory, or the bundled base.
        layers: keep only the first so many of its layers; ``None`` keeps all.
        seed: of every stage that sets none of its own.
        source: the collection that the recipe is for; ``None`` leaves it to the caller.
        stages: in their order, which was checked.
        inputs: of each stage.
        lists: given for the stages that read lists; ``None`` where stages make their own.
        rows: settings of single rows of an ablation, by the row's name.
    """

    name: str
    base: str
    layers: int | None
    seed: int
    source: str | None
    stages: tuple[AnyStage, ...]
    inputs: tuple[Inputs, ...]
    lists: GivenLists | None = None
    rows: Mapping[str, Values] = field(default_factory=dict)

    @property
    def train(self) -> TrainSettings:
        """Settings of the first training of the joint model."""
        return next(stage.training for stage in self.stages if stage.training is not None)

    @property
    def last_training(self) -> AnyStage:
        """The stage whose model is the recipe's."""
        return [stage for stage in self.stages if stage.training is not None][-1]

    @property
    def single(self) -> bool:
        """Whether it has one stage only, whose folder is the output folder itself."""
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
    given, row_changes = _split_changes(overrides or {})
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
        known = KINDS[kind].settings_type.model_fields
        defaults = {key: value for key, value in inherited.items() if key in known and value is not None}
        if own_seed and len(names) == 1:  # the one stage's seed is what a bare seed means
            settings = {key: value for key, value in settings.items() if key != "seed"}
        stages.append(_stage(name, stage, kind, {**defaults, **settings}, changes.get(stage, {})))
    lists = None if folder is None else GivenLists.open(folder)
    try:
        inputs = stage_inputs(stages, lists)
        _check_whole(stages, inputs, lists)
        rows = _check_rows(_merged(values.get("rows"), row_changes), stages[-1])
    except SettingsError as error:
        raise SettingsError(f"{name}: {error}") from error
    return Recipe(name, base, layers, seed, source, tuple(stages), tuple(inputs), lists, rows)


def shipped() -> list[str]:
    """Names of the recipes inside the package."""
    folder = files("ernie_search.pipeline").joinpath("recipes")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def is_recipe(name: str) -> bool:
    """Whether ``name`` is a shipped recipe or a YAML file; anything else names a collection."""
    return name.endswith(ENDINGS) or name in shipped()


def read_recipe(name: str) -> Any:
    """The plain values of a shipped recipe, by its name, or of a YAML file, by its path.

    Raises:
        SettingsError: no such recipe, not UTF-8, or broken YAML (file and line).
    """
    if name.endswith(ENDINGS):
        path = Path(name)
        if not path.is_file():
            raise SettingsError(f"{path}: no such recipe file; shipped recipes: {', '.join(shipped())}")
        try:
            return parse_yaml(name, path.read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise SettingsError(f"{path}: not UTF-8 text ({error.reason}); save it as UTF-8") from error
    if name not in shipped():
        raise SettingsError(f"unknown recipe {name!r}{did_you_mean(name, shipped())}")
    return parse_yaml(name, _packaged("recipes", f"{name}.yaml"))


def rows_file() -> Any:
    """The contents of ``rows.yaml``: the weights that rows of an ablation set, and the rows by name.

    Every call gives the same object: to be read, not changed.
    """
    return _rows(_packaged("rows.yaml"))


@cache
def _rows(text: str) -> Any:
    """Parsed once: an ablation asks for it several times a row."""
    return parse_yaml("rows.yaml", text)


def _packaged(*path: str) -> str:
    return files("ernie_search.pipeline").joinpath(*path).read_text(encoding="utf-8")


def parse_yaml(name: str, text: str) -> Any:
    """The plain values of ``text``.

    Raises:
        SettingsError: broken YAML; it says ``name`` and the line.
    """
    try:
        return yaml.safe_load(text) or {}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise SettingsError(
            f"{name}:{line}: not readable as YAML ({error.problem}); correct that line"
        ) from error
    except yaml.YAMLError as error:  # a character that YAML forbids, say
        first = str(error).splitlines()[0]
        raise SettingsError(f"{name}: not readable as YAML ({first}); correct the file") from error


def stage_names(written: list[str]) -> list[tuple[str, str]]:
    """Name and kind of each stage, from the list in a recipe.

    A repeated kind is numbered. A number that is written out must be right, as overrides and folders use it.

    Raises:
        SettingsError: an unknown kind (with the nearest known one), or a wrong number.
    """
    seen: dict[str, int] = {}
    found = []
    for text in written:
        match = NUMBERED.fullmatch(text)
        kind, number = (match[1], int(match[2])) if match and text not in KINDS else (text, 0)
        if kind not in KINDS:
            raise SettingsError(f"unknown stage {text!r}{did_you_mean(kind, list(KINDS))}")
        seen[kind] = seen.get(kind, 0) + 1
        name = kind if seen[kind] == 1 else f"{kind}-{seen[kind]}"
        if number and name != text:
            raise SettingsError(f"stage {text!r} is number {seen[kind]} of its kind; name it {name!r}")
        found.append((name, kind))
    return found


def make_stage(name: str, kind: str, values: Mapping[str, Any]) -> AnyStage:
    """A stage from plain values; strings are read as what the setting is.

    Raises:
        SettingsError: an unknown setting (with the nearest known one), or a value that does not fit.
    """
    return KINDS[kind](name, parse_typed(KINDS[kind].settings_type, values))


def changed_for_row(last: AnyStage, changes: Mapping[str, Any]) -> AnyStage:
    """A training with the settings of an ablation's row.

    Raises:
        SettingsError: a setting that all rows must share, an unknown one, or a value that does not fit.
    """
    fixed = [key for key in changes if key in FIXED]
    if fixed:
        raise SettingsError(f"changes {fixed[0]}, which all rows must share; change it in the recipe")
    return last.changed(changes)


def _written(name: str, values: Any) -> list[tuple[str, Values]]:
    """The stages of the file: their names as written, and their settings."""
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
            own = [one for one in names if key in KINDS[kinds[one]].settings_type.model_fields]
            if own:
                raise SettingsError(
                    f"setting {key!r}: the recipe has {len(names)} stages; say whose, as in {own[-1]}.{key}"
                )
            raise SettingsError(
                f"unknown setting {key!r}{did_you_mean(str(key), [*TOP, *(f'{n}.' for n in names)])}"
            )
        known = list(KINDS[kinds[stage]].settings_type.model_fields)
        if setting not in known:
            near = did_you_mean(setting, known if dot else [*TOP, *known])
            where = f"stage {stage!r}: " if dot else ""
            raise SettingsError(f"{where}unknown setting {setting!r}{near}")
        changes.setdefault(stage, {})[setting] = value
    return changes


def _stage(name: str, stage: str, kind: str, values: Values, changes: Values) -> AnyStage:
    """A stage with its overrides; errors of the recipe itself name the recipe."""
    try:
        return make_stage(stage, kind, {**values, **changes})
    except SettingsError:
        try:
            make_stage(stage, kind, values)
        except SettingsError as error:
            raise SettingsError(f"{name}: stage {stage!r}: {error}") from error
        raise


def _check_whole(stages: list[AnyStage], inputs: list[Inputs], given: GivenLists | None) -> None:
    """Refuse a recipe that trains no model, or whose stages don't read the given lists."""
    if all(stage.training is None for stage in stages):
        raise SettingsError("no stage trains a model; add a stage such as '- warm-up: {steps: 80}'")
    if given is not None and all(one.lists is not given for one in inputs):
        raise SettingsError(
            f"no stage reads the lists in {given.folder}, as a teacher, score or cascade with no mine before "
            "it does; leave them out, or take a recipe such as cascade"
        )


def _split_changes(given: Mapping[str, Any]) -> tuple[Values, dict[str, Values]]:
    """Overrides of stages, and of an ablation's rows by the row's name."""
    others: Values = {}
    rows: dict[str, Values] = {}
    for key, value in given.items():
        if not str(key).startswith(ROWS):
            others[key] = value
            continue
        row, dot, setting = str(key).removeprefix(ROWS).partition(".")
        if not (row and dot and setting):
            raise SettingsError(f"{key}: name a row and its setting, as in rows.marginmse.margin_weight=0.1")
        rows.setdefault(row, {})[setting] = value
    return others, rows


def _check_rows(written: Any, last: AnyStage) -> dict[str, Values]:
    """Settings of single rows of the recipe's ablation, with names, settings and values checked.

    Args:
        written: settings by row, of the recipe and the command line together.
        last: the stage that the rows change.
    """
    if not written:
        return {}
    known = [name for name in rows_file()["rows"] if name != WHOLE]
    if not _by_row(written):
        raise SettingsError(
            f"rows={written!r}: give settings by row, as in {{marginmse: {{margin_weight: 0.1}}}}"
        )
    if last.training is None:
        raise SettingsError(
            f"rows are changes of the last training, and the last stage is {last.name!r}; leave them out"
        )
    for row, changes in written.items():
        if row == WHOLE:
            raise SettingsError(f"row {WHOLE!r} is the recipe as it is; change its stage {last.name!r}")
        if row not in known:
            raise SettingsError(f"unknown row {row!r}{did_you_mean(str(row), known)}")
        try:
            changed_for_row(last, changes)
        except SettingsError as error:
            raise SettingsError(f"row {row!r}: {error}") from error
    return {row: dict(changes) for row, changes in written.items()}


def _merged(written: Any, overrides: Mapping[str, Values]) -> Any:
    """The recipe's rows, overridden by those of the command line; invalid values are passed on."""
    written = {} if written is None else written
    if not _by_row(written):
        return written
    return {row: {**written.get(row, {}), **overrides.get(row, {})} for row in [*written, *overrides]}


def _by_row(written: Any) -> bool:
    return isinstance(written, dict) and all(isinstance(one, dict) for one in written.values())
