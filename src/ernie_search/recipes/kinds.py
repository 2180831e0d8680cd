"""The kinds of stages that a recipe can name, and the settings of each."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

from ernie_search.mining import DenoiseSettings, MineSettings
from ernie_search.teacher import TeacherSettings
from ernie_search.training import TrainSettings


class MineStage(MineSettings):
    """Mining with the last trained model.

    Attributes:
        max_questions: mine for a seeded sample of so many training questions; 0 takes all. The same number
            and seed as a warm-up's draw the same questions.
        shard_size: passages encoded at a time, and lost at most to an interruption.
    """

    max_questions: int = Field(0, ge=0)
    shard_size: int = Field(4096, ge=1)


class TeacherStage(TeacherSettings):
    """The cross-encoder: trained on the mined lists, or a ready one.

    Attributes:
        use: hub name or directory of a ready cross-encoder; then nothing is trained, and the other settings
            mean nothing.
    """

    use: str | None = Field(None, min_length=1)


class ScoreStage(DenoiseSettings):
    """The teacher's scores of every list, and what is dropped by them.

    Attributes:
        shard_size: lists scored together, and lost at most to an interruption.
        token_budget: padded tokens a micro-batch; 0 takes what suits the device.
        precision: ``auto`` measures whether bf16 is faster on this machine.
    """

    shard_size: int = Field(256, ge=1)
    token_budget: int = Field(0, ge=0)
    precision: Literal["auto", "bf16", "fp32"] = "auto"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of stage: the type of its settings, and what it does, in a few words."""

    settings: type[BaseModel]
    what: str


KINDS: dict[str, Kind] = {
    "warm-up": Kind(TrainSettings, "train the joint model on BM25's negatives"),
    "mine": Kind(MineStage, "search with it, keep hard negatives"),
    "teacher": Kind(TeacherStage, "train the cross-encoder on them"),
    "score": Kind(ScoreStage, "score the lists with it, drop likely positives"),
    "cascade": Kind(TrainSettings, "train the joint model on the scored lists"),
}
"""In the order of docs/method.md, "The stages"."""
