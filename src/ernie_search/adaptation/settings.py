"""How many questions are made of what, of how many passages."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from ernie_search._util.settings import TypedSettings, between_commas
from ernie_search.adaptation.questions import RULE_KINDS, Kind

HELD_PASSAGES, MOST_HELD = 40, 0.3
"""Passages that measure at least, if they are no larger a share of all."""


class QuestionSettings(TypedSettings):
    """Which questions are made.

    Attributes:
        number: questions at most, before the filter; of as many passages as that takes, drawn uniformly.
        per_passage: questions of each passage, as far as its text gives so many that differ.
        kinds: made by rules for training, in turns; ``held_out_kind`` is left out of them.
        held_out: share of the passages whose questions only measure.
        held_out_kind: of their questions. Keywords can be made of any text, and are the least like the
            sentences that the other kinds are cut from.
        seed: of all draws.
        depth: a question is kept if its passage is among so many first hits.
    """

    number: int = Field(5_000, ge=1)
    per_passage: int = Field(4, ge=1, le=100)
    kinds: tuple[Kind, ...] = RULE_KINDS
    held_out: float = Field(0.1, ge=0, lt=1)
    held_out_kind: Kind = "keywords"
    seed: int = Field(0, ge=0)
    depth: int = Field(20, ge=1)

    _between_commas = field_validator("kinds", mode="before")(between_commas)

    @model_validator(mode="after")
    def _kinds_are_made_by_rules(self) -> Self:
        for kind in (*self.kinds, self.held_out_kind):
            if kind not in RULE_KINDS:
                raise ValueError(f"kind {kind} is not made by rules; known: {', '.join(RULE_KINDS)}")
        if not self.trained_kinds:
            raise ValueError(
                f"no kind is left to train on, as {self.held_out_kind} is held out; name another "
                "held_out_kind, or set held_out to 0"
            )
        return self

    @property
    def trained_kinds(self) -> tuple[Kind, ...]:
        """The kinds that are learnt from."""
        held = self.held_out_kind if self.held_out else None
        return tuple(kind for kind in dict.fromkeys(self.kinds) if kind != held)

    def held_out_of(self, passages: int) -> float:
        """Share of so many passages that only measures: of few more, so that something can be told."""
        if not self.held_out:
            return 0.0
        return max(self.held_out, min(MOST_HELD, HELD_PASSAGES / max(1, passages)))

    @property
    def passages(self) -> int:
        """Passages to draw."""
        return self.passages_of(self.number)

    def passages_of(self, questions: int) -> int:
        """Passages that so many questions are made of."""
        return -(-questions // self.per_passage)
