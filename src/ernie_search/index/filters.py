"""Conditions on a passage's fields: a small tree that every backend translates into its own language.

A condition is true or false, never unknown: a passage without the field meets no ``Eq``, ``In`` or ``Range``,
and therefore meets their ``Not``. (SQL's third value would let ``not lang = 'en'`` drop those without one.)
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ernie_search.errors import SettingsError
from ernie_search.files import did_you_mean
from ernie_search.index.spec import FieldType

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Eq:
    """The field has this value."""

    field: str
    value: Value


@dataclass(frozen=True, slots=True)
class In:
    """The field has one of these values; none at all is met by nothing."""

    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The number lies between bounds; a bound that is None is open. Numbers only."""

    field: str
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class And:
    """All parts are met; no part at all is met by everything."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any part is met; no part at all is met by nothing."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part is not met."""

    part: "Filter"


Filter = Eq | In | Range | And | Or | Not

PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
}


def fits(value: Any, kind: str) -> bool:
    """Whether a value is of a field's type. True and False are no numbers here."""
    return isinstance(value, PYTHON_TYPES[kind]) and (kind == "bool" or not isinstance(value, bool))


def check_filter(where: Filter, fields: Mapping[str, FieldType]) -> None:
    """Refuse what the store cannot answer, whatever the backend.

    Raises:
        SettingsError: an unknown field, a value of another type than the field, a range over something that
            is no number, or a thing that is no condition.
    """
    if isinstance(where, And | Or):
        for part in where.parts:
            check_filter(part, fields)
        return
    if isinstance(where, Not):
        check_filter(where.part, fields)
        return
    if not isinstance(where, Eq | In | Range):
        raise SettingsError(f"filter {where!r}: not a condition; use Eq, In, Range, And, Or or Not")
    known: dict[str, str] = {"id": "str", **fields}
    if where.field not in known:
        raise SettingsError(f"filter: no field {where.field!r}{did_you_mean(where.field, list(known))}")
    kind = known[where.field]
    if isinstance(where, Range):
        bounds = (where.above, where.at_least, where.below, where.at_most)
        if kind not in ("int", "float"):
            raise SettingsError(f"filter: {where.field} is a {kind}; <, <=, > and >= compare numbers")
        if any(one is not None and not (fits(one, "float") and math.isfinite(one)) for one in bounds):
            raise SettingsError(f"filter: {where.field}: its bounds must be finite numbers, not {bounds}")
        return
    for value in (where.value,) if isinstance(where, Eq) else where.values:
        if not fits(value, kind) or (isinstance(value, float) and not math.isfinite(value)):
            raise SettingsError(f"filter: {where.field} is a {kind}, {value!r} is none")


def meets(where: Filter, row: Mapping[str, Any]) -> bool:
    """Whether a passage's values meet the condition: what the words above mean, for memory and for tests."""
    if isinstance(where, And):
        return all(meets(part, row) for part in where.parts)
    if isinstance(where, Or):
        return any(meets(part, row) for part in where.parts)
    if isinstance(where, Not):
        return not meets(where.part, row)
    value = row.get(where.field)
    if value is None:
        return False
    if isinstance(where, Eq):
        return bool(value == where.value)
    if isinstance(where, In):
        return value in where.values
    return (
        (where.above is None or value > where.above)
        and (where.at_least is None or value >= where.at_least)
        and (where.below is None or value < where.below)
        and (where.at_most is None or value <= where.at_most)
    )
