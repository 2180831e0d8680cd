"""Typed settings from plain values, for every room: unknown names are refused with the nearest known one."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, ValidationInfo, field_validator

from ernie_search._util.files import did_you_mean
from ernie_search.errors import SettingsError

NUMBERS = (int, float, int | None, float | None)


class TypedSettings(BaseModel):
    """Immutable settings that refuse unknown names and infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads ``on`` and ``yes`` as true, and pydantic would read true as 1."""
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation in NUMBERS:
            raise ValueError("a number is needed here")
        return value


Settings = TypeVar("Settings", bound=BaseModel)
Record = TypeVar("Record")
SHOWN = 80
"""Characters of a wrong value that a message shows."""


def between_commas(value: Any) -> Any:
    """The parts of a text with commas, as command lines have lists; anything else as it is."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def parse_typed(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Settings of this kind from plain values (YAML, command line); strings are read as what the setting is.

    Rules about several settings at once are the kind's own: a validator, or a method ``check``.

    Raises:
        SettingsError: an unknown name (with the nearest known one), or a value that does not fit.
    """
    known = list(kind.model_fields)
    for name in values:
        if name not in known:
            raise SettingsError(f"unknown setting {name!r}{did_you_mean(str(name), known)}")
    try:
        settings = kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        if not where:  # a rule about several settings, whose message names them
            raise SettingsError(message) from error
        raise SettingsError(f"setting {where}={first['input']!r}: {message.lower()}") from error
    check = getattr(settings, "check", None)
    return settings if check is None else check()


def read_record(kind: type[Record], values: Any) -> Record:
    """A dataclass from the plain values of a JSON file, each of exactly the type that the dataclass says.

    Args:
        kind: a dataclass; its fields may be dataclasses, and lists of them.
        values: what the file holds.

    Raises:
        ValueError: no object, a name that is unknown or missing, or a value of another type: the first of
            them, with its place, in one line.
    """
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    unknown = sorted(values.keys() - {field.name for field in fields(kind)})  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is unknown")
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        shown = "" if first["type"] == "missing" else f"={str(first['input'])[:SHOWN]!r}"
        raise ValueError(f"{where}{shown}: {first['msg'].lower()}") from error
