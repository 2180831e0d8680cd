"""The stage ``score``: a teacher scores every list, and likely positives are denoised."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ernie_search._util.files import MANIFEST, fingerprint, remembered_sha256
from ernie_search.errors import DataError, SettingsError
from ernie_search.mining import DenoiseSettings, denoise
from ernie_search.mining.lists import LISTS_FILE, Lists
from ernie_search.model.beginning import QuestionWeights
from ernie_search.pipeline.stage import (
    LISTS_FROM,
    QUESTION_SHARE,
    Available,
    Counter,
    Done,
    Inputs,
    ListCount,
    Rates,
    Sizes,
    Stage,
    Task,
    TeacherModel,
)
from ernie_search.teacher import (
    BM25Scores,
    LateScores,
    ListScoreSettings,
    TeacherSum,
    import_scores,
    parse_weights,
    score_lists,
    tune_sum,
)
from ernie_search.teacher.imported import check_import_name, read_scores
from ernie_search.teacher.judging import accuracy_advice
from ernie_search.teacher.score import entropy_warning
from ernie_search.teacher.score_folder import SHARDS
from ernie_search.teacher.sums import CROSS, LATE, WORDS, SavedWeights, check_weights
from ernie_search.training.folder import model_identity

SCORED, LISTS, IMPORTED, WEIGHTS = "scored", "lists", "imported", "weights.json"
CHOSEN_BY = "chosen_by"
"""In the weights' file: a fingerprint of all that decides them."""


class ScoreStageSettings(DenoiseSettings):
    """Scoring of the lists by a teacher, and the limits of denoising.

    Attributes:
        shard_size: lists scored together; an interruption loses at most one shard.
        token_budget: padded tokens in a micro-batch; 0 takes what suits the device.
        precision: ``auto`` measures whether bf16 is faster on this machine.
        teacher: weights of the components of a sum, on their own scales: ``cross`` (the stage teacher's
            cross-encoders), ``late`` (late interaction), ``bm25``; also written ``cross=1,late=0.5``. One of
            weight 0 is judged beside the others. Any other name is one of ``imports``.
        imports: scores that somebody else made, by the name of their component: a file or a saved data set,
            as for :func:`ernie_search.teacher.import_scores`.
        late: model of the component ``late``, a directory or hub name; by default the model trained last, as
            it is now.
        late_question_weights: weights of a question's tokens there: all alike, the root of their idf, or idf.
        tune_on: a split (dev) on which the weights are chosen by re-ranking; then those in ``teacher`` only
            name the components. Empty takes the weights as they are.
        tune_questions: most questions of that split; 0 takes all.
    """

    shard_size: int = Field(256, ge=1)
    token_budget: int = Field(0, ge=0)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    teacher: dict[str, float] = Field(default_factory=lambda: {CROSS: 1.0})
    imports: dict[str, str] = Field(default_factory=dict)
    late: str | None = Field(None, min_length=1)
    late_question_weights: QuestionWeights = "even"
    tune_on: str = ""
    tune_questions: int = Field(500, ge=0)

    @field_validator("teacher", mode="before")
    @classmethod
    def _components(cls, value: Any) -> Any:
        """Weights, also as one text."""
        try:
            weights = parse_weights(value) if isinstance(value, str) else value
            if isinstance(weights, dict):
                check_weights({name: float(weight) for name, weight in weights.items()})
            return weights
        except (SettingsError, TypeError) as error:
            raise ValueError(str(error)) from error

    @field_validator("imports", mode="before")
    @classmethod
    def _files(cls, value: Any) -> Any:
        """Files by name, also as one text, such as ``llm=scores.jsonl``."""
        if not isinstance(value, str):
            return value
        parts = [part.partition("=") for part in value.split(",") if part.strip()]
        found = {name.strip(): path.strip() for name, _, path in parts}
        if len(found) < len(parts) or not all((*found, *found.values())):
            raise ValueError(f"{value!r} is not NAME=FILE, each name once; write, say, llm=scores.jsonl")
        return found

    @model_validator(mode="after")
    def _components_are_there(self) -> Self:
        computed = (CROSS, LATE, WORDS)
        for name, path in self.imports.items():
            try:
                check_import_name(name)
            except SettingsError as error:
                raise ValueError(str(error)) from error
            if not path.strip():
                raise ValueError(f"imports: {name!r} has no file; name one")
        unknown = [name for name in self.teacher if name not in (*computed, *self.imports)]
        if unknown:
            raise ValueError(
                f"{unknown[0]!r} is no component; choose among cross, late and bm25, "
                f"or import scores of that name: imports: {{{unknown[0]}: FILE}}"
            )
        unused = [name for name in self.imports if name not in self.teacher]
        if unused:
            raise ValueError(f"imports: {unused[0]!r} has no weight in teacher; give it one, or leave it out")
        if self.tune_on and self.imports:
            raise ValueError(
                f"tune_on={self.tune_on} re-ranks passages that no imported score is known of; "
                "give the weights, or leave imports out"
            )
        return self


class Score(Stage[ScoreStageSettings]):
    """Scoring of mined lists by a teacher, and their denoising by the scores."""

    kind = "score"
    settings_type = ScoreStageSettings
    reported = (
        ("lists", "lists"),
        ("denoised", "negatives denoised, which the teacher takes for positives"),
        ("refilled", "drawn from other questions in their place"),
        ("still_short", "lists short even so"),
    )

    def reads(self, before: Available) -> Inputs:
        """The inputs: mined lists, a teacher for ``cross``, and the model trained last for ``late``."""
        lists = self.needs_lists(before, "scores mined lists", mined=True)
        model = teacher = None
        if CROSS in self.settings.teacher:
            teacher = self.needs(before.teacher, "needs a teacher to score with; put a teacher before it")
        if LATE in self.settings.teacher and self.settings.late is None:
            wanted = "has late in its teacher; put a warm-up before it, or name a model with late"
            model = self.needs(before.model, wanted)
        return Inputs(model=model, lists=lists, teacher=teacher)

    @property
    def what(self) -> str:
        return f"score the lists with {' + '.join(self.settings.teacher)}, denoise likely positives"

    @property
    def sources(self) -> dict[str, str]:
        """Fingerprints of a late-interaction model that the settings name, and of imported scores."""
        files = self.settings.imports.items()
        found = {f"imports.{name}": _identity(Path(path)) for name, path in files}
        named = self.settings.late if LATE in self.settings.teacher else None
        return found if named is None else found | {"late": model_identity(named)}

    def check(self, base: str, teacher: TeacherModel | None) -> None:
        """Refuse scores to import that are not there, or whose first row is none.

        Raises:
            DataError: no such file, no columns of ids and scores, or no score in the first row.
        """
        for path in self.settings.imports.values():
            _identity(Path(path))
            if next(read_scores(Path(path)), None) is None:
                raise DataError(f"{path}: no score in it; correct score.imports")

    def leaves(self, before: Available) -> Available:
        """What later stages may read: lists with scores, which denoising may have shortened."""
        settings = self.settings
        made = replace(before, lists=self.name, scored=True)
        limited = settings.maximum is not None or settings.margin is not None
        if not limited or settings.keep_at_least >= before.fewest:
            return made
        return made.with_fewest(settings.keep_at_least, f"{self.name}.keep_at_least={settings.keep_at_least}")

    def sizes(self, passages: int, questions: int, lists: ListCount | None) -> Sizes:
        """The amount of work: the pairs of the lists."""
        read = self.needs(lists, f"scores mined lists; {LISTS_FROM}")
        text = f"{read.text} = {read.pairs:,} pairs"
        return Sizes(text, passages=passages, questions=read.number, pairs=read.pairs)

    def seconds(self, sizes: Sizes, rates: Rates) -> float:
        """Estimated duration: the cross-encoder reads each pair once, a late-interaction model each text."""
        found = 0.0
        if CROSS in self.settings.teacher:
            found += sizes.pairs / rates.pairs_per_second
        if LATE in self.settings.teacher:
            # A passage is read once for each shard that has it.
            shards = -(-sizes.questions // self.settings.shard_size)
            read = min(sizes.pairs, sizes.passages * shards) + sizes.questions * QUESTION_SHARE
            found += read / rates.passages_per_second
        return found

    def share_done(self, folder: Path, sizes: Sizes) -> float:
        """The finished share, by the shards of scores."""
        shards = sum(1 for _ in (folder / SCORED / SHARDS).glob("*.parquet"))
        return shards * self.settings.shard_size / max(1, sizes.questions)

    def execute(self, task: Task) -> Done:
        """Score every list, then denoise the negatives that the teacher scores like positives."""
        settings = self.settings
        lists = self.needs(task.inputs.open_lists(), "was given no lists")
        imported: dict[str, Any] = {}
        for name, path in settings.imports.items():
            lists = self._with_imported(task, lists, name, path)
            imported[name] = lists.manifest["imported"]
        scored = score_lists(
            self._teacher(task),
            task.collection,
            lists,
            task.folder / SCORED,
            ListScoreSettings(**settings.model_dump(include={"shard_size", "token_budget", "precision"})),
            progress=Counter(task.observer, "lists scored", len(lists)),
        )
        for warning in (accuracy_advice(scored), entropy_warning(scored)):
            if warning:
                task.observer("advice", {"text": warning})
        limits = DenoiseSettings(**settings.model_dump(include=set(DenoiseSettings.model_fields)))
        clean = denoise(scored, task.folder / LISTS, limits)
        outputs: tuple[str, ...] = (f"{SCORED}/{LISTS_FILE}", f"{LISTS}/{LISTS_FILE}")
        manifests = (f"{SCORED}/{MANIFEST}", f"{LISTS}/{MANIFEST}")
        if settings.tune_on:
            outputs = (*outputs, WEIGHTS)
        judged = scored.manifest["scores"]
        components = {"weights": judged["weights"], "components": judged["components"]}
        counts = {"lists": len(clean), **clean.manifest.get("counts", {}), **components}
        if imported:
            counts["imported"] = imported
        return Done(LISTS, outputs, counts, manifests)

    def _with_imported(self, task: Task, lists: Lists, name: str, path: str) -> Lists:
        """The lists with the scores of a file as a part; an interrupted stage does it again, alike."""
        made = import_scores(
            path,
            task.collection,
            task.folder / IMPORTED / name,
            lists=lists,
            name=name,
            progress=Counter(task.observer, f"scores of {name} read"),
        )
        about = made.manifest["imported"]
        if about["scored"] < about["passages"]:
            said = f"{about['scored']:,} of {about['passages']:,} passages of the lists have a score"
            text = f"{path}: {said}; the others are left out where scores are learned"
            task.observer("advice", {"text": text})
        return made

    def _teacher(self, task: Task) -> TeacherSum:
        """The sum that the settings name, with weights chosen on a split if they say so."""
        settings, computed = self.settings, self.settings.teacher
        late = None
        if LATE in computed:
            late = LateScores(
                settings.late or task.inputs.model,
                task.collection,
                question_weights=settings.late_question_weights,
            )
        found = TeacherSum(
            dict(computed),
            self.needs(task.inputs.open_teacher(), "was given no teacher") if CROSS in computed else None,
            late,
            BM25Scores(task.collection) if WORDS in computed else None,
        )
        if settings.tune_on:
            path = task.folder / WEIGHTS
            of = fingerprint(
                *(settings.tune_on, settings.tune_questions, list(computed)),
                *(found.key, task.collection.fingerprint),
            )
            # An interrupted stage keeps the weights that it began with, if they were chosen by the same.
            if not path.is_file() or SavedWeights.read(path).about.get(CHOSEN_BY) != of:
                tuned = tune_sum(
                    found,
                    task.collection,
                    split=settings.tune_on,
                    questions=settings.tune_questions,
                    progress=Counter(task.observer, "questions re-ranked"),
                )
                SavedWeights(tuned.weights, about=asdict(tuned) | {CHOSEN_BY: of}).write(path)
            found.weights = SavedWeights.read(path).weights
        return found


def _identity(path: Path) -> str:
    """A fingerprint of a file, or of all files of a folder.

    Raises:
        DataError: there is none.
    """
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise DataError(f"{path}: no such file of scores; correct score.imports")
    return fingerprint([remembered_sha256(one) for one in files])
