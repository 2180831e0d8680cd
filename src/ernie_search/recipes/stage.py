"""A stage of a recipe: its name, its kind and its typed settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from ernie_search.errors import SettingsError
from ernie_search.files import did_you_mean
from ernie_search.recipes.kinds import KINDS
from ernie_search.training import TrainSettings
from ernie_search.typed_settings import parse_typed

NUMBERED = re.compile(r"(.+?)-([0-9]+)")


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the path.

    Attributes:
        name: its kind; a later one of the same kind has its number after it, as ``mine-2``.
        kind: a key of :data:`~ernie_search.recipes.kinds.KINDS`.
        settings: of the kind's own type.
    """

    name: str
    kind: str
    settings: BaseModel

    @property
    def training(self) -> TrainSettings | None:
        """The settings of a training of the joint model; ``None`` for the other kinds."""
        return self.settings if isinstance(self.settings, TrainSettings) else None


def stage_names(written: list[str]) -> list[tuple[str, str]]:
    """Name and kind of each stage of a list, as it is written in a recipe.

    A kind that repeats is numbered; whoever writes the number himself must count right, as overrides and
    folders go by it.

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


def parse_stage(kind: str, values: Mapping[str, Any]) -> BaseModel:
    """The typed settings of a stage from plain values; strings are read as what the setting is.

    Raises:
        SettingsError: an unknown name (with the nearest known one), or a value that does not fit.
    """
    return parse_typed(KINDS[kind].settings, values)
