"""A recipe: base model and training settings in one YAML file, typed, with unknown names refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ernie_search.errors import SettingsError
from ernie_search.files import did_you_mean
from ernie_search.training import TrainSettings, parse_settings

KEYS = ("base", "layers", "train")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to train, from what.

    Attributes:
        name: of the shipped recipe, or the file's.
        base: hub name, directory, or the bundled base.
        layers: keep only the first so many of its layers; ``None`` keeps all.
        train: settings of the training.
    """

    name: str
    base: str
    layers: int | None
    train: TrainSettings


def shipped() -> list[str]:
    """Names of the recipes inside the package."""
    folder = files("ernie_search.recipes")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a shipped recipe by its name, or a YAML file by its path.

    Args:
        name: ``squad-small``, say, or ``path/to/mine.yaml``.
        overrides: ``base``, ``layers``, or any setting of ``train`` by its bare name.

    Raises:
        SettingsError: no such recipe, broken YAML (file and line), or an unknown or unfitting setting.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise SettingsError(f"{path}: no such recipe file; shipped recipes: {', '.join(shipped())}")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SettingsError(f"{path}: not UTF-8 text ({error.reason}); save it as UTF-8") from error
    elif name in shipped():
        text = files("ernie_search.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    else:
        raise SettingsError(f"unknown recipe {name!r}{did_you_mean(name, shipped())}")
    try:
        values = yaml.safe_load(text) or {}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise SettingsError(
            f"{name}:{line}: not readable as YAML ({error.problem}); mend that line"
        ) from error
    except yaml.YAMLError as error:  # a character that YAML forbids, say
        first = str(error).splitlines()[0]
        raise SettingsError(f"{name}: not readable as YAML ({first}); mend the file") from error
    if not isinstance(values, dict) or not isinstance(values.get("train", {}), dict):
        raise SettingsError(
            f"{name}: a recipe is a mapping with the keys {', '.join(KEYS)}; 'train' is one of settings"
        )
    for key in values:
        if key not in KEYS:
            raise SettingsError(f"{name}: unknown key {key!r}{did_you_mean(str(key), KEYS)}")
    train = dict(values.get("train", {}))
    given = dict(overrides or {})
    base = given.pop("base", values.get("base"))
    layers = given.pop("layers", values.get("layers"))
    if not isinstance(base, str):
        raise SettingsError(f"{name}: base={base!r} is not a model name; give a hub name or a directory")
    if layers is not None:
        if not str(layers).isdecimal():
            raise SettingsError(f"{name}: layers={layers!r} is not a number of layers; give a whole number")
        layers = int(layers)
    return Recipe(name, base, layers, _train_settings(name, train, given))


def _train_settings(name: str, train: Mapping[str, Any], given: Mapping[str, Any]) -> TrainSettings:
    """The recipe's settings with the overrides; a fault of the recipe itself names the recipe."""
    known = [*KEYS[:2], *TrainSettings.model_fields]
    for key in given:
        if key not in known:
            raise SettingsError(f"unknown setting {key!r}{did_you_mean(str(key), known)}")
    try:
        return parse_settings({**train, **given})
    except SettingsError:
        try:
            parse_settings(train)
        except SettingsError as error:
            raise SettingsError(f"{name}: {error}") from error
        raise
