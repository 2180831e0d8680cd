"""Scoring of mined lists by teachers, shard by shard, so that an interrupted scoring resumes."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ernie_search._util.hardware import prefers_bf16
from ernie_search._util.settings import TypedSettings
from ernie_search.data import Collection
from ernie_search.encoding.executors import Executor, LocalExecutor
from ernie_search.errors import DataError
from ernie_search.losses import entropy_advice
from ernie_search.mining.lists import Lists, TrainingList, write_lists
from ernie_search.teacher.components import Asked
from ernie_search.teacher.judging import Accuracy, positive_rank
from ernie_search.teacher.score_folder import ScoredList, ScoreFolder, shard_name
from ernie_search.teacher.sums import CROSS, LATE, WORDS, TeacherSum, parts_of, weighted_sum
from ernie_search.teacher.teachers import Teachers, passage_texts, question_texts
from ernie_search.teacher.train import check_same_data
from ernie_search.training.settings import TrainSettings


class ListScoreSettings(TypedSettings):
    """How lists are scored.

    Attributes:
        shard_size: lists scored together, sorted by length; an interruption loses at most one shard.
        token_budget: padded tokens in a micro-batch; 0 takes what suits the device.
        precision: ``auto`` measures whether bf16 is faster on this machine, once per folder.
        split: of the lists' questions.
    """

    shard_size: int = Field(256, ge=1)
    token_budget: int = Field(0, ge=0)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    split: str = "train"


def score_lists(
    teachers: Teachers | TeacherSum | str | Path,
    collection: Collection,
    lists: Lists,
    output: Path,
    settings: ListScoreSettings | None = None,
    *,
    progress: Callable[[int], None] | None = None,
    executor: Executor | None = None,
) -> Lists:
    """Score every passage of every list: by a cross-encoder that was not trained on the question, or a sum.

    Each component's scores are kept beside the sum (``parts``). With other weights a finished folder's sums
    are computed anew from these, and nothing is scored again.

    Args:
        teachers: a folder of trained cross-encoders, a ready one's directory or name, either opened, or a
            weighted sum of components. Components that it does not compute are taken from the lists' parts.
        collection: that the lists were mined from; its passages are read once, and the needed texts held.
        lists: streamed; scores that they have are replaced, parts of other components and denoising marks
            stay.
        output: gets the scores in shards, and at the end the scored lists: a folder for ``Lists.open``.
        settings: how.
        progress: called with the number of lists done since its last call, those of earlier calls included.
        executor: where cross-encoders score pairs; by default in this process, where the other components
            are always scored. Only this process writes files.

    Returns:
        The scored lists. A finished folder is checked and left alone.

    Raises:
        DataError: lists of another corpus, an output folder with other scores, a shard or the lists altered
            since they were written, a question or passage that the collection lacks.
        SettingsError: the lists lack scores of a component that is not computed.
        ModelError: a teacher cannot be loaded, or its score is not finite.
        StorageError: the disk is full or not writable. Finished shards stay.
        ExecutorError: the executor failed. Finished shards stay.
    """
    executor = executor or LocalExecutor()
    settings = settings or ListScoreSettings()
    check_same_data(lists, collection)
    teacher = _as_sum(teachers)
    teacher.check(lists)
    key = {
        "data": collection.fingerprint,
        "lists": lists.fingerprint,
        "split": settings.split,
        **teacher.key,
    }
    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if _bf16_pays(teacher, executor) else "fp32"
    state = ScoreFolder.begin(Path(output), key, precision=precision, shard_size=settings.shard_size)
    if settings.precision not in ("auto", state.precision):
        raise DataError(
            f"{state.folder}: scored in {state.precision}, asked for {settings.precision}; "
            "choose another folder or delete this one"
        )
    if state.finished:
        done = Lists.open(state.folder)
        if progress is not None:
            progress(len(lists))
        if done.manifest["scores"].get("weights", {CROSS: 1.0}) == teacher.weights:
            return done
        state.reopen()
    _Scoring(teacher, collection, lists, state, settings, progress, executor).score()
    about = dict(lists.manifest)
    scored = _with_summary(_joined(lists, state, teacher), about, teacher, state)
    write_lists(state.empty_staging(), scored, data_fingerprint=lists.data_fingerprint, about=about)
    state.move_up()
    return Lists.open(state.folder)


def _as_sum(teachers: Teachers | TeacherSum | str | Path) -> TeacherSum:
    if isinstance(teachers, TeacherSum):
        return teachers
    opened = teachers if isinstance(teachers, Teachers) else Teachers.open(teachers)
    return TeacherSum({CROSS: 1.0}, cross=opened)


def _bf16_pays(teacher: TeacherSum, executor: Executor) -> bool:
    """Whether bf16 is faster for the component that takes longest."""
    if CROSS in teacher.computed:
        ((_, faster),) = executor.run(teacher.cross, bf16_pays, [("precision", None, 0)])
        return bool(faster)
    if teacher.late is not None and LATE in teacher.computed:
        return bool(prefers_bf16(teacher.late.model.device))
    return False


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """The pairs of a shard's lists.

    Attributes:
        teachers: for each pair the number of the teacher that was not trained on its question.
        pairs: question and passage texts.
        token_budget, bf16: see ``Teachers.scores``.
    """

    teachers: list[int]
    pairs: list[tuple[str, str]]
    token_budget: int | None
    bf16: bool


def score_job(
    teachers: Teachers, job: ScoreJob, progress: Callable[[int], None] | None = None
) -> list[float]:
    """Score the pairs of one shard; executors call it, in this process or on another machine."""
    found = teachers.scores(job.teachers, job.pairs, token_budget=job.token_budget, bf16=job.bf16)
    values: list[float] = found.tolist()
    return values


def bf16_pays(teachers: Teachers, job: None, progress: Callable[[int], None] | None = None) -> bool:
    """Whether bf16 is faster on the machine that calls this."""
    return prefers_bf16(teachers.all[0].device)


class _Scoring:
    """Scoring of the shards that a folder lacks."""

    def __init__(
        self,
        teacher: TeacherSum,
        collection: Collection,
        lists: Lists,
        state: ScoreFolder,
        settings: ListScoreSettings,
        progress: Callable[[int], None] | None,
        executor: Executor,
    ) -> None:
        self.teacher, self.collection, self.lists, self.state = teacher, collection, lists, state
        self.settings, self.progress, self.executor = settings, progress, executor

    def score(self) -> None:
        """Score the missing shards."""
        if not self.teacher.computed:  # all scores are in the lists
            self.state.write()
            return
        wanted: dict[str, str] = {}
        asked: set[str] = set()
        for _, group in self._missing():
            for one in group:
                asked.add(one.query)
                for what, ids in (("positive", one.positives), ("negative", one.negatives)):
                    for passage in ids:
                        wanted.setdefault(passage, f"question {one.query!r}: its {what}")
        if not asked:
            return
        questions = question_texts(self.collection, asked, self.settings.split)
        passages = passage_texts(self.collection, wanted)
        groups: dict[int, list[TrainingList]] = {}
        last = time.perf_counter()
        for number, cross in self._cross_scores(groups, questions, passages):
            group = groups.pop(number)
            parts = self._other_scores(group, questions, passages)
            if cross is not None:
                parts[CROSS] = list(_by_list(group, cross))
            scored = [
                ScoredList(
                    one.query, {name: tuple(map(float, found[place])) for name, found in parts.items()}
                )
                for place, one in enumerate(group)
            ]
            now = time.perf_counter()
            self.state.add(number, scored, now - last)
            last = now
            if self.progress is not None:
                self.progress(len(group))

    def _cross_scores(
        self, groups: dict[int, list[TrainingList]], questions: Mapping[str, str], passages: Mapping[str, str]
    ) -> Iterator[tuple[int, list[float] | None]]:
        """Numbers of the missing shards, and flat scores of their pairs; ``groups`` gets their lists.

        ``None`` for scores where no cross-encoder is in the sum.
        """
        teachers = self.teacher.cross
        if teachers is None or CROSS not in self.teacher.computed:
            for number, group in self._missing(self.progress):
                groups[number] = group
                yield number, None
            return
        budget = self.settings.token_budget or None
        of = teachers.of

        def jobs() -> Iterator[tuple[int, ScoreJob, int]]:
            for number, group in self._missing(self.progress):
                groups[number] = group
                numbers, pairs = [], []
                for one in group:
                    number_of_teacher = of(one.positives)
                    for passage in one.passages:
                        numbers.append(number_of_teacher)
                        pairs.append((questions[one.query], passages[passage]))
                yield number, ScoreJob(numbers, pairs, budget, self.state.precision == "bf16"), len(group)

        yield from self.executor.run(teachers, score_job, jobs())

    def _other_scores(
        self, group: Sequence[TrainingList], questions: Mapping[str, str], passages: Mapping[str, str]
    ) -> dict[str, Sequence[Sequence[float] | NDArray[np.float32]]]:
        """Scores of the components that are no cross-encoders, by name, for each list of a shard."""
        asked = [Asked(questions[one.query], one.passages) for one in group]
        found: dict[str, Sequence[Sequence[float] | NDArray[np.float32]]] = {}
        computed, late, words = self.teacher.computed, self.teacher.late, self.teacher.bm25
        if late is not None and LATE in computed:
            found[LATE] = late.scores(asked, passages, bf16=self.state.precision == "bf16")
        if words is not None and WORDS in computed:
            found[WORDS] = words.scores(asked)
        return found

    def _missing(
        self, progress: Callable[[int], None] | None = None
    ) -> Iterator[tuple[int, list[TrainingList]]]:
        """Number and lists of every missing shard; the others are reported to ``progress``."""
        source, number = iter(self.lists), 0
        while group := list(islice(source, self.state.shard_size)):
            if shard_name(number) not in self.state.shards:
                yield number, group
            elif progress is not None:
                progress(len(group))
            number += 1


def _by_list(lists: Sequence[TrainingList], scores: list[float]) -> Iterator[list[float]]:
    """Scores by list, from the flat scores of all pairs."""
    source = iter(scores)
    return (list(islice(source, len(one.passages))) for one in lists)


def _joined(lists: Lists, state: ScoreFolder, teacher: TeacherSum) -> Iterator[TrainingList]:
    """The lists joined with their scores."""
    if not teacher.computed:
        yield from (with_sum(one, parts_of(one), teacher.weights) for one in lists)
        return
    for one, scored in zip(lists, state.scores(), strict=True):
        if scored.query != one.query:
            raise DataError(
                f"{state.folder}: scores of question {scored.query!r} where the lists have {one.query!r}; "
                "delete the folder and score again"
            )
        yield with_sum(one, {**parts_of(one), **scored.parts}, teacher.weights)


def with_sum(
    one: TrainingList, parts: Mapping[str, tuple[float, ...]], weights: Mapping[str, float]
) -> TrainingList:
    """The list with these parts, and their weighted sum as its scores."""
    total, middle = weighted_sum(parts, weights), len(one.positives)
    return replace(one, positive_scores=total[:middle], negative_scores=total[middle:], parts=parts)


def _with_summary(
    lists: Iterator[TrainingList], about: dict[str, Any], teacher: TeacherSum, state: ScoreFolder
) -> Iterator[TrainingList]:
    """Pass the lists on; after the last one ``about["scores"]`` holds a summary of the scores.

    ``positive_first``: share of the lists with negatives whose best positive is above them all; ``entropy``:
    mean entropy, in nats, of the softmax over a list's first positive and its negatives at temperature 1;
    ``in_training``: the same at the ``cross_temperature`` that a training has by default, over so many
    ``candidates`` in the mean; ``components``: accuracy of each on the lists, see :class:`Accuracy`. Passages
    without a score are left out.
    """
    pairs = counted = places = 0
    entropy = softened = 0.0
    temperature = TrainSettings().cross_temperature
    judged = {name: Accuracy() for name in teacher.weights}
    total = Accuracy()
    for one in lists:
        pairs += len(one.passages)
        middle = len(one.positives)
        if one.negatives:
            total.add(positive_rank(one.positive_scores, one.negative_scores))
            for name, accuracy in judged.items():
                accuracy.add(positive_rank(one.parts[name][:middle], one.parts[name][middle:]))
        first = next((score for score in one.positive_scores if not math.isnan(score)), None)
        logits = np.array([score for score in one.negative_scores if not math.isnan(score)], dtype=np.float64)
        if first is not None and len(logits):
            counted += 1
            places += 1 + len(logits)
            logits = np.concatenate([[first], logits])
            entropy += _entropy(logits)
            softened += _entropy(logits / temperature)
        yield one
    about["scores"] = {
        "teacher": teacher.name,
        **state.key,
        "weights": dict(teacher.weights),
        "precision": state.precision,
        "seconds": state.seconds,
        "pairs": pairs,
        "positive_first": total.positive_first,
        "mrr": total.mrr,
        "components": {name: accuracy.as_json() for name, accuracy in judged.items()},
        "entropy": round(entropy / max(1, counted), 4),
        "in_training": {
            "cross_temperature": temperature,
            "entropy": round(softened / max(1, counted), 4),
            "candidates": round(places / max(1, counted)),
        },
    }


def entropy_warning(scored: Lists) -> str | None:
    """One line of advice where the softmax of the scores is almost flat or one-hot; ``None`` otherwise."""
    training = scored.manifest["scores"]["in_training"]
    advice = entropy_advice(training["entropy"], training["candidates"], "cross_temperature")
    return (
        advice and f"with cross_temperature={training['cross_temperature']:g}, as trainings have it, {advice}"
    )


def _entropy(logits: NDArray[np.float64]) -> float:
    """Entropy of the softmax of the logits, in nats."""
    weights = np.exp(logits - logits.max())
    shares = weights / weights.sum()
    return float(-np.sum(shares * np.log(np.maximum(shares, np.finfo(np.float64).tiny))))
