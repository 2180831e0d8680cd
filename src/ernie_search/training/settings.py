"""The settings of one training run, typed, with unknown names refused."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from ernie_search.errors import SettingsError
from ernie_search.files import did_you_mean


class TrainSettings(BaseModel):
    """Warm-up training of the joint encoder (METHOD, losses 1 and 2).

    Attributes:
        steps: optimizer steps.
        questions_per_batch, negatives: a step sees ``questions_per_batch * (1 + negatives)`` passages.
        max_questions: train on a seeded sample of so many questions; 0 takes all.
        negative_first, negative_last: the window of BM25 ranks that negatives are drawn from.
        learning_rate, head_learning_rate: peak rates of the encoder and of the fresh token head.
        warmup: share of the steps in which the rate rises; then it falls linearly to zero.
        dense_weight, late_weight, interaction_weight: of ``L_DE``, ``L_LI`` and ``L_LI>DE``; a weight of zero
            costs nothing.
        dense_temperature, late_temperature: contrastive ``tau_DE``, ``tau_LI``.
        teacher_temperature, student_temperature: of the distillation alone.
        distillation_candidates: over all passages of the batch, or over the question's own list.
        detach_teacher: stop the distillation's gradient at the late interaction.
        query_length, passage_length: tokens kept of a text.
        token_budget: padded tokens a micro-batch; 0 takes what suits the device.
        attention_dropout: 0 keeps scaled-dot-product attention on its fast path (CPU); hidden dropout stays.
        precision: ``auto`` measures whether bf16 is faster on this machine.
        evaluations: how often dev is measured on the way, the end included; 0 for never.
        dev_questions, dev_passages: size of the dev sample that is measured on the way.
        checkpoints: how many resumable checkpoints are written on the way, the end included.
        keep_checkpoints: how many of them are kept.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    seed: int = Field(0, ge=0)
    steps: int = Field(200, ge=1)
    questions_per_batch: int = Field(32, ge=1)
    negatives: int = Field(1, ge=0)
    max_questions: int = Field(0, ge=0)
    negative_first: int = Field(0, ge=0)
    negative_last: int = Field(30, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    head_learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    dense_weight: float = Field(1.0, ge=0)
    late_weight: float = Field(1.0, ge=0)
    interaction_weight: float = Field(3.0, ge=0)
    dense_temperature: float = Field(0.05, gt=0)
    late_temperature: float = Field(0.03, gt=0)
    teacher_temperature: float = Field(0.04, gt=0)
    student_temperature: float = Field(0.05, gt=0)
    distillation_candidates: Literal["batch", "own"] = "batch"
    detach_teacher: bool = True
    query_length: int = Field(64, ge=4)
    passage_length: int = Field(256, ge=8)
    token_budget: int = Field(0, ge=0)
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    evaluations: int = Field(4, ge=0)
    dev_questions: int = Field(200, ge=1)
    dev_passages: int = Field(800, ge=2)
    checkpoints: int = Field(2, ge=1)
    keep_checkpoints: int = Field(1, ge=1)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads ``on`` and ``yes`` as true, and pydantic would read true as 1."""
        wanted = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and wanted in (int, float):
            raise ValueError("a number is needed here")
        return value

    @property
    def needs_tokens(self) -> bool:
        """Whether any loss reads the token matrix."""
        return self.late_weight > 0 or self.interaction_weight > 0

    def check(self) -> "TrainSettings":
        """Refuse what cannot be trained, before anything is loaded.

        Raises:
            SettingsError: no loss at all, no negatives at all, or an empty window of ranks.
        """
        if self.dense_weight == 0 and self.late_weight == 0:
            raise SettingsError("dense_weight and late_weight are both 0, so nothing learns; set one above 0")
        if self.questions_per_batch == 1 and self.negatives == 0:
            raise SettingsError(
                "questions_per_batch=1 with negatives=0 leaves no negative; "
                "set questions_per_batch to 2 or more"
            )
        if self.negative_last <= self.negative_first:
            raise SettingsError(
                f"negative_last={self.negative_last} is not above negative_first={self.negative_first}; "
                "widen the window"
            )
        return self


def parse_settings(values: Mapping[str, Any]) -> TrainSettings:
    """Settings from plain values (YAML, command line); strings are read as what the setting is.

    Raises:
        SettingsError: an unknown name (with the nearest known one), or a value that does not fit.
    """
    known = list(TrainSettings.model_fields)
    for name in values:
        if name not in known:
            raise SettingsError(f"unknown setting {name!r}{did_you_mean(str(name), known)}")
    try:
        return TrainSettings.model_validate(dict(values)).check()
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"setting {name}={first['input']!r}: {first['msg'].lower()}") from error
