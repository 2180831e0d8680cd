"""A recipe's text: where it comes from, and what is wrong with it as YAML."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from ernie_search.errors import SettingsError
from ernie_search.files import did_you_mean

NO_RECIPES = ("rows",)
"""YAML files beside the recipes that are none: the rows of ``ablate``."""
ENDINGS = (".yaml", ".yml")


def shipped() -> list[str]:
    """Names of the recipes inside the package."""
    folder = files("ernie_search.recipes")
    names = (item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))
    return sorted(name for name in names if name not in NO_RECIPES)


def is_recipe(name: str) -> bool:
    """Whether ``name`` is a recipe's: a shipped one, or a YAML file. Anything else is a collection's."""
    return name.endswith(ENDINGS) or name in shipped()


def packaged(name: str) -> str:
    """The text of a YAML file inside the package, by its name without the ending."""
    return files("ernie_search.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8")


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
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SettingsError(f"{path}: not UTF-8 text ({error.reason}); save it as UTF-8") from error
    elif name in shipped():
        text = packaged(name)
    else:
        raise SettingsError(f"unknown recipe {name!r}{did_you_mean(name, shipped())}")
    return parse_yaml(name, text)


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
            f"{name}:{line}: not readable as YAML ({error.problem}); mend that line"
        ) from error
    except yaml.YAMLError as error:  # a character that YAML forbids, say
        first = str(error).splitlines()[0]
        raise SettingsError(f"{name}: not readable as YAML ({first}); mend the file") from error
