"""The recipe of an adaptation: its settings as a YAML file, under the names that ``--set`` takes."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from ernie_search._util.files import did_you_mean
from ernie_search.adaptation.plan import PARTS, AdaptSettings
from ernie_search.errors import SettingsError
from ernie_search.pipeline.recipe import ENDINGS, parse_yaml, read_recipe

SHIPPED = "adapt"
"""Name of the recipe inside the package, which says what the defaults are."""


def read_adapt_recipe(recipe: str | Path) -> tuple[str | None, dict[str, Any]]:
    """The base that a recipe names, if it does, and its settings as ``parse_adapt`` takes them.

    Args:
        recipe: ``adapt``, or the path of a YAML file of the same form, which may leave out what it keeps.

    Raises:
        SettingsError: no such file, broken YAML (file and line), a name that is not known, or a group that is
            no mapping. Settings within a group are checked by ``parse_adapt``.
    """
    name = str(recipe)
    if name == SHIPPED:
        values = parse_yaml(name, files("ernie_search.adaptation").joinpath("adapt.yaml").read_text("utf-8"))
    elif not name.endswith(ENDINGS):
        raise SettingsError(f"--recipe {name}: is no YAML file ({', '.join(ENDINGS)}), nor {SHIPPED!r}")
    elif not Path(name).is_file():
        raise SettingsError(f"{name}: no such recipe file; the shipped one is {SHIPPED!r}")
    else:
        values = read_recipe(name)
    if not isinstance(values, dict):
        raise SettingsError(
            f"{name}: a recipe of an adaptation is a mapping with such keys as base and train"
        )
    if "stages" in values:
        raise SettingsError(
            f"{name}: is a recipe of a training, as it has stages; ernie-search train takes it. "
            f"An adaptation's has the groups {', '.join(PARTS)}"
        )
    known = ["base", *PARTS, *(one for one in AdaptSettings.model_fields if one not in PARTS.values())]
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise SettingsError(f"{name}: unknown key {key!r}{did_you_mean(str(key), known)}")
        if key not in PARTS:
            found[key] = value
        elif isinstance(value or {}, dict):
            found |= {f"{key}.{one}": setting for one, setting in (value or {}).items()}
        else:
            raise SettingsError(
                f"{name}: {key}: {value!r} is no group of settings; write {key}: {{NAME: VALUE}}"
            )
    base = found.pop("base", None)
    if base is not None and not isinstance(base, str):
        raise SettingsError(f"{name}: base: {base!r} is not a model name; give a hub name or a directory")
    return base, found
