"""The stage ``warm-up``: the joint model trained on BM25's negatives; and what it shares with ``cascade``."""

from abc import ABC
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from ernie_search.errors import ModelError, SettingsError
from ernie_search.model.attention import check_layer, compare_tokenizers
from ernie_search.model.tokenizer import open_tokenizer
from ernie_search.pipeline.stage import (
    QUESTION_SHARE,
    Available,
    Done,
    Inputs,
    ListCount,
    Rates,
    Sizes,
    Stage,
    Task,
    TeacherModel,
)
from ernie_search.runtime.places import resolve_base
from ernie_search.runtime.saved_files import one_line
from ernie_search.teacher import Teachers
from ernie_search.training import TrainSettings, train
from ernie_search.training.folder import RESULT_FILE, TRAINING_FILE, checkpoint_steps
from ernie_search.training.teachers import StepTeachers


class Training(Stage[TrainSettings], ABC):
    """A training of the joint model, whose best checkpoint is the stage's model."""

    settings_type = TrainSettings
    shared = True

    @property
    def training(self) -> TrainSettings:
        return self.settings

    def leaves(self, before: Available) -> Available:
        return replace(before, model=self.name)

    def sizes(self, passages: int, questions: int, lists: ListCount | None) -> Sizes:
        """The amount of work: steps, and their passages."""
        group = f"{self.settings.questions_per_batch} x (1 + {self.settings.negatives})"
        return Sizes(f"{self.settings.steps:,} steps x {group}", steps=self.settings.steps)

    def seconds(self, sizes: Sizes, rates: Rates) -> float:
        """Estimated duration of steps and dev measurements, and of the attention of a cross-encoder."""
        settings = self.settings
        step = rates.seconds_per_step(settings)
        if settings.attention_weight > 0:
            step += settings.questions_per_batch / rates.pairs_per_second
        encoded = settings.dev_questions * QUESTION_SHARE + settings.dev_passages
        return sizes.steps * step + settings.evaluations * encoded / rates.passages_per_second

    def share_done(self, folder: Path, sizes: Sizes) -> float:
        """The finished share, by the latest whole checkpoint."""
        return max(checkpoint_steps(folder), default=0) / self.settings.steps

    def execute(self, task: Task) -> Done:
        """Train, or resume from the last checkpoint."""
        given = task.inputs
        result = train(
            task.collection,
            task.folder,
            self.settings,
            base=given.model,
            layers=given.layers,
            lists=given.open_lists(),
            teachers=StepTeachers(cross=given.open_teacher(), frozen=given.frozen),
            observer=task.observer,
        )
        counts = {
            "steps": result.steps,
            "best_step": result.best_step,
            "best_metric": result.best_metric,
            "truncated": result.truncated,
            "filled": result.filled,
            "left_out": result.left_out,
        }
        outputs = tuple(dict.fromkeys((result.model.name, result.last.name)))
        return Done(result.model.name, outputs, counts, (RESULT_FILE, TRAINING_FILE), result.seconds)

    def check(self, base: str, teacher: TeacherModel | None) -> None:
        """Refuse a teacher whose attention cannot teach.

        Every model of a recipe reads as its base does, so the tokenizers of the bases are enough. What cannot
        be opened by itself is left to the stage that loads its model.

        Raises:
            ModelError: teacher and student read other tokens (it says which), or the teacher has no such
                layer.
        """
        if self.settings.attention_weight <= 0 or teacher is None:
            return
        student = _tokenizer(base)
        for model in _models(teacher):
            theirs = _tokenizer(model)
            if student is not None and theirs is not None:
                compare_tokenizers(theirs, student)
            layers = _layers(model, teacher)
            if layers is not None:
                check_layer(model, layers, self.settings.attention_layer)

    def without_frozen_teacher(self, before: Available) -> None:
        """Refuse a frozen teacher where no training came before: the base has no token head.

        Raises:
            SettingsError: it says what to do.
        """
        settings = self.settings
        if before.model is None and settings.interaction_teacher == "frozen" and settings.interaction_weight:
            raise SettingsError(
                f"stage {self.name!r} has interaction_teacher=frozen, and no training before it makes that "
                "teacher; put a warm-up before it, or set interaction_teacher=late"
            )


class WarmUp(Training):
    """Training of the joint model on BM25's negatives, without a cross-encoder."""

    kind = "warm-up"
    what = "train the joint model on BM25's negatives"

    def reads(self, before: Available) -> Inputs:
        """The input: the model of an earlier training, if there is one."""
        self.without_frozen_teacher(before)
        attention = ["attention"] if self.settings.attention_weight > 0 else []
        taught = [*self.settings.cross_terms, *attention]
        if taught:
            raise SettingsError(
                f"stage {self.name!r} has {taught[0]}_weight above 0, and a warm-up has no teacher; "
                "set it in a cascade after a score"
            )
        return Inputs(model=before.model)


def _models(teacher: TeacherModel) -> list[str]:
    """Names of the ready teachers, or of the base of the trained ones."""
    if not teacher.ready:
        return [teacher.base]
    try:
        return [str(model) for model in Teachers.open(teacher.base).models]
    except ModelError:
        return []


def _layers(model: str, teacher: TeacherModel) -> int | None:
    """Number of the teacher's layers: those that its stage keeps, or all of its config."""
    if teacher.layers and not teacher.ready:
        return teacher.layers
    try:
        with one_line(f"{model}: its config cannot be read"):
            return int(AutoConfig.from_pretrained(resolve_base(model)).num_hidden_layers)
    except ModelError:
        return None


def _tokenizer(model: str) -> Any:
    try:
        return open_tokenizer(model)
    except ModelError:
        return None
