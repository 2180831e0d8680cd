"""The settings of the cross-encoder teachers, typed, with unknown names refused."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from ernie_search._util.settings import TypedSettings, parse_typed
from ernie_search.errors import SettingsError
from ernie_search.model import BUNDLED


class TeacherSettings(TypedSettings):
    """Listwise training of cross-encoders on positive and mined negatives (docs/method.md, "The teacher").

    The figures are ours, for a small base and minutes of training.

    Attributes:
        base: any encoder, by hub name, directory, or the bundled one's name.
        layers: keep only the first so many of its layers.
        folds: 2 trains two teachers, each on the questions that the other scores; 1 trains one on all.
        seed: of the heads, the batches and dropout.
        steps: optimizer steps of each teacher.
        questions_per_batch, negatives: a step scores ``questions_per_batch * (1 + negatives)`` pairs. A list
            with fewer negatives is scored as it is.
        backwards: in how many equal parts a step's questions go through the model; memory falls with it, the
            loss stays the same.
        learning_rate: peak rate; it rises over the share ``warmup`` of the steps, then falls to zero.
        temperature: the logits are divided by it before the softmax over a list.
        max_length: tokens kept of a pair, special tokens included.
        token_budget: padded tokens a micro-batch; 0 takes what suits the device.
        attention_dropout: 0 keeps scaled-dot-product attention on its fast path (CPU); hidden dropout stays.
        precision: ``auto`` measures whether bf16 is faster on this machine.
        evaluations, held_out: how often a teacher is measured on the way on so many lists that it is not
            trained on; with one fold there are none.
        checkpoints, keep_checkpoints: how many resumable checkpoints are written on the way, and kept.
    """

    base: str = Field(BUNDLED, min_length=1)
    layers: int | None = Field(None, ge=1)
    folds: int = Field(2, ge=1)
    seed: int = Field(0, ge=0)
    steps: int = Field(400, ge=1)
    questions_per_batch: int = Field(16, ge=1)
    negatives: int = Field(7, ge=1)
    backwards: int = Field(4, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    temperature: float = Field(1.0, gt=0)
    max_length: int = Field(256, ge=8)
    token_budget: int = Field(0, ge=0)
    attention_dropout: float = Field(0.0, ge=0, lt=1)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    evaluations: int = Field(4, ge=0)
    held_out: int = Field(100, ge=1)
    checkpoints: int = Field(2, ge=1)
    keep_checkpoints: int = Field(1, ge=1)

    def check(self) -> "TeacherSettings":
        """Refuse what does not go together, before anything is loaded.

        Raises:
            SettingsError: the questions of a step can't be cut into equal parts.
        """
        if self.questions_per_batch % self.backwards:
            raise SettingsError(
                f"backwards={self.backwards} does not divide questions_per_batch={self.questions_per_batch}; "
                "choose a divisor of it"
            )
        return self


def parse_teacher_settings(values: Mapping[str, Any]) -> TeacherSettings:
    """Settings from plain values (YAML, command line); strings are read as what the setting is.

    Raises:
        SettingsError: an unknown name (with the nearest known one), or a value that does not fit.
    """
    return parse_typed(TeacherSettings, values)
