"""What a recipe sets for single rows of its ablation, so that each control is shown at its best.

A row takes the weights of ``rows.yaml`` and else the recipe's own values. A control may need others:
MarginMSE's loss is ten times as large as the rest, say. ``rows: {marginmse: {margin_weight: 0.1}}`` in a
recipe, or ``--set rows.marginmse.margin_weight=0.1``, changes that row and no other.
"""

from collections.abc import Mapping
from typing import Any

from ernie_search.errors import SettingsError
from ernie_search.files import did_you_mean
from ernie_search.recipes.stage import Stage, parse_stage
from ernie_search.recipes.yaml_file import packaged, parse_yaml

FIXED = ("steps", "seed", "questions_per_batch", "negatives", "max_questions")
"""What a row must leave alone, or the rows could not be compared."""
WHOLE = "full"
"""The row that is the recipe as it is."""
PREFIX = "rows."

Values = dict[str, Any]


def rows_file() -> Any:
    """``rows.yaml``: the weights, and the rows by name."""
    return parse_yaml("rows.yaml", packaged("rows"))


def split_changes(given: Mapping[str, Any]) -> tuple[Values, dict[str, Values]]:
    """Overrides apart: those of stages, and those of rows by the row's name.

    Raises:
        SettingsError: ``rows.`` without a row and its setting.
    """
    others: Values = {}
    rows: dict[str, Values] = {}
    for key, value in given.items():
        if not str(key).startswith(PREFIX):
            others[key] = value
            continue
        row, dot, setting = str(key).removeprefix(PREFIX).partition(".")
        if not (row and dot and setting):
            raise SettingsError(f"{key}: name a row and its setting, as in rows.marginmse.margin_weight=0.1")
        rows.setdefault(row, {})[setting] = value
    return others, rows


def check_rows(written: Any, last: Stage) -> dict[str, Values]:
    """The rows of a recipe, refused where they can't be: by name, by setting, by value.

    Args:
        written: settings by row, of the recipe and the command line together.
        last: the stage that rows train anew.

    Raises:
        SettingsError: what is wrong, with the nearest known name.
    """
    if not written:
        return {}
    known = [name for name in rows_file()["rows"] if name != WHOLE]
    if not isinstance(written, dict) or not all(isinstance(one, dict) for one in written.values()):
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
            changed(last, changes)
        except SettingsError as error:
            raise SettingsError(f"row {row!r}: {error}") from error
    return {row: dict(changes) for row, changes in written.items()}


def changed(last: Stage, changes: Mapping[str, Any]) -> Stage:
    """The recipe's last training with some settings changed.

    Raises:
        SettingsError: a setting that all rows must share, an unknown one, or a value that does not fit.
    """
    fixed = [key for key in changes if key in FIXED]
    if fixed:
        raise SettingsError(f"changes {fixed[0]}, which all rows must share; change it in the recipe")
    return Stage(last.name, last.kind, parse_stage(last.kind, {**last.settings.model_dump(), **changes}))


def merged(written: Any, overrides: Mapping[str, Values]) -> Any:
    """Rows as they are written, with those of the command line over them; what is wrong stays as it is."""
    written = {} if written is None else written
    if not isinstance(written, dict) or not all(isinstance(one, dict) for one in written.values()):
        return written
    return {row: {**written.get(row, {}), **overrides.get(row, {})} for row in [*written, *overrides]}
