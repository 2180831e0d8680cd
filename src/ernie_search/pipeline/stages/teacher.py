"""The stage ``teacher``: cross-encoders trained on the lists, or a ready one."""

from dataclasses import replace
from pathlib import Path

from pydantic import Field

from ernie_search._util.files import write_json
from ernie_search.pipeline.stage import (
    READY_FINGERPRINT,
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
from ernie_search.teacher import Teachers, TeacherSettings, train_teachers
from ernie_search.teacher.teachers import TEACHERS_FILE
from ernie_search.training.folder import RESULT_FILE, checkpoint_steps, model_identity

MODELS, READY = "teachers", "ready.json"
BACKWARD = 3.0
"""A training step over a forward pass: the backward costs about twice the forward."""


class TeacherStageSettings(TeacherSettings):
    """The cross-encoder: trained on the mined lists, or a ready one.

    Attributes:
        use: hub name or directory of a ready cross-encoder; then nothing is trained, and the other settings
            mean nothing.
    """

    use: str | None = Field(None, min_length=1)


class Teacher(Stage[TeacherStageSettings]):
    """Cross-encoders that score lists: trained, each on a part of the questions, or taken ready."""

    kind = "teacher"
    settings_type = TeacherStageSettings
    noted_since = ("base",)

    @property
    def what(self) -> str:
        return "take a ready cross-encoder" if self.settings.use else "train the cross-encoder on them"

    @property
    def teacher(self) -> TeacherModel:
        """The ready cross-encoder, or the base of the trained ones."""
        settings = self.settings
        if settings.use:
            return TeacherModel(settings.use, None, settings.max_length, ready=True)
        return TeacherModel(settings.base, settings.layers, settings.max_length, ready=False)

    @property
    def sources(self) -> dict[str, str]:
        """Fingerprint of the weights of a ready cross-encoder, or of the base of the trained ones."""
        settings = self.settings
        used = {"use": settings.use} if settings.use else {"base": settings.base}
        return {name: model_identity(model) for name, model in used.items()}

    def reads(self, before: Available) -> Inputs:
        """The input: lists, unless the cross-encoder is ready."""
        if self.settings.use:
            return Inputs()
        return Inputs(lists=self.needs_lists(before, "trains on mined lists"))

    def leaves(self, before: Available) -> Available:
        return replace(before, teacher=self.name)

    def sizes(self, passages: int, questions: int, lists: ListCount | None) -> Sizes:
        """The amount of work: pairs of all steps."""
        one = self.settings
        if one.use:
            return Sizes(one.use)
        text = f"{one.folds} x {one.steps:,} steps x {one.questions_per_batch} x (1 + {one.negatives})"
        steps = one.folds * one.steps
        return Sizes(text, steps=steps, pairs=steps * one.questions_per_batch * (1 + one.negatives))

    def seconds(self, sizes: Sizes, rates: Rates) -> float:
        """Estimated duration of the trainings; zero for a ready cross-encoder."""
        return sizes.pairs / rates.pairs_per_second * BACKWARD if sizes.pairs else 0.0

    def share_done(self, folder: Path, sizes: Sizes) -> float:
        """The finished share, by the latest checkpoint of each teacher."""
        if self.settings.use:
            return 0.0
        teachers = [folder / MODELS / f"teacher-{number}" for number in range(self.settings.folds)]
        done = [
            1.0
            if (one / RESULT_FILE).is_file()
            else max(checkpoint_steps(one), default=0) / self.settings.steps
            for one in teachers
        ]
        return sum(done) / self.settings.folds

    def execute(self, task: Task) -> Done:
        """Train the teachers on the lists, or record the ready one with the fingerprint of its weights."""
        settings = self.settings
        if settings.use:
            ready = Teachers.open(settings.use)
            write_json(task.folder / READY, {"use": settings.use, "fingerprint": ready.fingerprint})
            return Done(settings.use, (READY,), {READY_FINGERPRINT: ready.fingerprint})
        lists = self.needs(task.inputs.open_lists(), "was given no lists")
        own = TeacherSettings(**settings.model_dump(include=set(TeacherSettings.model_fields)))
        made = train_teachers(task.collection, lists, task.folder / MODELS, own, task.observer)
        models = tuple(Path(model).relative_to(task.folder).as_posix() for model in made.models)
        return Done(MODELS, models, {"teachers": len(made)}, (f"{MODELS}/{TEACHERS_FILE}",))
