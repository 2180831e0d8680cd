"""The settings of mining and of denoising, typed, with unknown names refused."""

from collections.abc import Mapping
from typing import Any, Self, TypeVar

from pydantic import Field, model_validator

from ernie_search._util.settings import TypedSettings, parse_typed


class MineSettings(TypedSettings):
    """What is taken from a run as hard negatives.

    Attributes:
        first: ranks skipped at the top (0: none), where positives that nobody judged are likeliest.
        last: the rank, counted from 0 and known positives included, at which the window ends.
        number: negatives kept a question.
        near_duplicate: 4-gram Jaccard similarity to a positive, or to a negative kept before, above which a
            passage is left out; 0 turns this off. 0.5 is what ``data.near_duplicates`` splits collections by.
        seed: of the passages that fill a list which the window leaves too short.
    """

    first: int = Field(0, ge=0)
    last: int = Field(100, ge=1)
    number: int = Field(16, ge=1)
    near_duplicate: float = Field(0.5, ge=0, lt=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _window_has_ranks(self) -> Self:
        if self.last <= self.first:
            raise ValueError(f"last={self.last} is not above first={self.first}; widen the window of ranks")
        return self


class DenoiseSettings(TypedSettings):
    """Which negatives a teacher's scores throw out as likely positives. Without limits all stay.

    Attributes:
        maximum: drop negatives with a higher raw logit than this.
        margin: drop negatives that score above the best positive's logit less this (0: above the positive).
        keep_at_least: a list that keeps fewer negatives is filled up to so many with other questions', which
            have no score: as many as a training shows of it.
    """

    maximum: float | None = None
    margin: float | None = None
    keep_at_least: int = Field(1, ge=1)


Settings = TypeVar("Settings", MineSettings, DenoiseSettings)


def parse_settings(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Settings from plain values (YAML, command line).

    Raises:
        SettingsError: an unknown name (with the nearest known one), or a value that does not fit.
    """
    return parse_typed(kind, values)
