"""Every list scored once: raw logits, shard by shard; an interrupted scoring goes on where it stopped."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ernie_search.data import Collection
from ernie_search.engines import Engine, LocalEngine
from ernie_search.errors import DataError
from ernie_search.hardware import prefers_bf16
from ernie_search.mining.lists import Lists, TrainingList, write_lists
from ernie_search.process_memory import keep_freed_memory
from ernie_search.teacher.score_folder import ScoredList, ScoreFolder, shard_name
from ernie_search.teacher.teachers import Teachers
from ernie_search.teacher.texts import passage_texts, question_texts
from ernie_search.teacher.train import check_same_data
from ernie_search.training.settings import TrainSettings
from ernie_search.training.watch import scores_advice


class ListScoreSettings(BaseModel):
    """How lists are scored.

    Attributes:
        shard_size: lists scored together, sorted by length; an interruption loses them at most.
        token_budget: padded tokens a micro-batch; 0 takes what suits the device.
        precision: ``auto`` measures whether bf16 is faster on this machine, once a folder.
        split: of the lists' questions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    shard_size: int = Field(256, ge=1)
    token_budget: int = Field(0, ge=0)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    split: str = "train"


def score_lists(
    teachers: Teachers | str | Path,
    collection: Collection,
    lists: Lists,
    output: Path,
    settings: ListScoreSettings | None = None,
    *,
    progress: Callable[[int], None] | None = None,
    engine: Engine | None = None,
) -> Lists:
    """Score every passage of every list with the teacher that has not seen the question.

    Args:
        teachers: a folder of trained ones, a ready cross-encoder's directory or name, or either opened.
        collection: that the lists were mined from; its passages are read once, and the needed texts held.
        lists: streamed; scores that they carry are replaced.
        output: gets the scores in shards, and at the end the scored lists: a folder for ``Lists.open``.
        settings: how.
        progress: called with the number of lists done since its last call, those of earlier calls included.
        engine: where pairs are scored; by default in this process. Files are read and written here only.

    Returns:
        The scored lists. A finished folder is checked and left alone.

    Raises:
        DataError: lists of another corpus, an output folder with other scores, a shard or the lists altered
            since they were written, a question or passage that the collection lacks.
        ModelError: a teacher cannot be loaded, or its score is not finite.
        StorageError: the disk is full or not writable. Finished shards stay.
        EngineError: the engine failed. Finished shards stay.
    """
    engine = engine or LocalEngine()
    settings = settings or ListScoreSettings()
    check_same_data(lists, collection)
    if not isinstance(teachers, Teachers):
        teachers = Teachers.open(teachers)
    key = {
        "teachers": teachers.fingerprints,
        "data": collection.fingerprint,
        "lists": lists.fingerprint,
        "max_length": [model.max_seq_length for model in teachers.all],
        "split": settings.split,
    }
    precision = settings.precision
    if precision == "auto":
        ((_, faster),) = engine.run(teachers, bf16_pays, [("precision", None, 0)])
        precision = "bf16" if faster else "fp32"
    state = ScoreFolder.begin(Path(output), key, precision=precision, shard_size=settings.shard_size)
    if settings.precision not in ("auto", state.precision):
        raise DataError(
            f"{state.folder}: scored in {state.precision}, asked for {settings.precision}; "
            "choose another folder or delete this one"
        )
    if state.finished:
        if progress is not None:
            progress(len(lists))
        return Lists.open(state.folder)
    keep_freed_memory()
    _Scoring(teachers, collection, lists, state, settings, progress, engine).score()
    about = dict(lists.manifest)
    scored = _with_summary(_joined(lists, state), about, teachers, state)
    write_lists(state.empty_staging(), scored, data_fingerprint=lists.data_fingerprint, about=about)
    state.move_up()
    return Lists.open(state.folder)


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """The pairs of a shard's lists.

    Attributes:
        speakers: for each pair the teacher that has not seen its question, by number.
        pairs: question and passage texts.
        token_budget, bf16: see ``Teachers.scores``.
    """

    speakers: list[int]
    pairs: list[tuple[str, str]]
    token_budget: int | None
    bf16: bool


def score_job(
    teachers: Teachers, job: ScoreJob, progress: Callable[[int], None] | None = None
) -> list[float]:
    """What is done once a shard, in this process or on another machine."""
    found = teachers.scores(job.speakers, job.pairs, token_budget=job.token_budget, bf16=job.bf16)
    values: list[float] = found.tolist()
    return values


def bf16_pays(teachers: Teachers, job: None, progress: Callable[[int], None] | None = None) -> bool:
    """Whether bf16 is faster where this runs."""
    return prefers_bf16(teachers.all[0].device)


class _Scoring:
    """Scores the shards that are missing."""

    def __init__(
        self,
        teachers: Teachers,
        collection: Collection,
        lists: Lists,
        state: ScoreFolder,
        settings: ListScoreSettings,
        progress: Callable[[int], None] | None,
        engine: Engine,
    ) -> None:
        self.teachers, self.collection, self.lists, self.state = teachers, collection, lists, state
        self.settings, self.progress, self.engine = settings, progress, engine

    def score(self) -> None:
        """All that is left."""
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

        def jobs() -> Iterator[tuple[int, ScoreJob, int]]:
            for number, group in self._missing(self.progress):
                groups[number] = group
                speakers, pairs = [], []
                for one in group:
                    speaker = self.teachers.of(one.positives)
                    for passage in chain(one.positives, one.negatives):
                        speakers.append(speaker)
                        pairs.append((questions[one.query], passages[passage]))
                budget = self.settings.token_budget or None
                yield number, ScoreJob(speakers, pairs, budget, self.state.precision == "bf16"), len(group)

        last = time.perf_counter()
        for number, scores in self.engine.run(self.teachers, score_job, jobs()):
            now = time.perf_counter()
            group = groups.pop(number)
            self.state.add(number, list(_by_list(group, scores)), now - last)
            last = now
            if self.progress is not None:
                self.progress(len(group))

    def _missing(
        self, progress: Callable[[int], None] | None = None
    ) -> Iterator[tuple[int, list[TrainingList]]]:
        """Number and lists of every shard that is not there; the others are told to ``progress``."""
        source, number = iter(self.lists), 0
        while group := list(islice(source, self.state.shard_size)):
            if shard_name(number) not in self.state.shards:
                yield number, group
            elif progress is not None:
                progress(len(group))
            number += 1


def _by_list(lists: Sequence[TrainingList], scores: list[float]) -> Iterator[ScoredList]:
    """Flat scores dealt out to their lists."""
    start = 0
    for one in lists:
        middle = start + len(one.positives)
        stop = middle + len(one.negatives)
        yield ScoredList(one.query, tuple(scores[start:middle]), tuple(scores[middle:stop]))
        start = stop


def _joined(lists: Lists, state: ScoreFolder) -> Iterator[TrainingList]:
    """The lists with their scores."""
    for one, scored in zip(lists, state.scores(), strict=True):
        if scored.query != one.query:
            raise DataError(
                f"{state.folder}: scores of question {scored.query!r} where the lists have {one.query!r}; "
                "delete the folder and score again"
            )
        yield replace(one, positive_scores=scored.positive_scores, negative_scores=scored.negative_scores)


def _with_summary(
    lists: Iterator[TrainingList], about: dict[str, Any], teachers: Teachers, state: ScoreFolder
) -> Iterator[TrainingList]:
    """The same lists; when the last has passed, ``about["scores"]`` says what the scores say of the teacher.

    ``positive_first``: share of the lists with negatives whose best positive is above them all; ``entropy``:
    mean, in nats, of the softmax over a list's first positive and its negatives at temperature 1;
    ``in_training``: the same at the ``cross_temperature`` that a training has by default, over so many
    ``candidates`` in the mean.
    """
    pairs = counted = first = places = 0
    entropy = softened = 0.0
    temperature = TrainSettings().cross_temperature
    for one in lists:
        pairs += len(one.positives) + len(one.negatives)
        if one.negatives:
            counted += 1
            first += max(one.positive_scores) > max(one.negative_scores)
            places += 1 + len(one.negatives)
            logits = np.array([one.positive_scores[0], *one.negative_scores], dtype=np.float64)
            entropy += _entropy(logits)
            softened += _entropy(logits / temperature)
        yield one
    about["scores"] = {
        "teacher": teachers.name,
        **state.key,
        "precision": state.precision,
        "seconds": state.seconds,
        "pairs": pairs,
        "positive_first": round(first / max(1, counted), 4),
        "entropy": round(entropy / max(1, counted), 4),
        "in_training": {
            "cross_temperature": temperature,
            "entropy": round(softened / max(1, counted), 4),
            "candidates": round(places / max(1, counted)),
        },
    }


def entropy_warning(scored: Lists) -> str | None:
    """One line where the scores are almost flat or one-hot to a training; ``None`` where they teach."""
    training = scored.manifest["scores"].get("in_training")  # an older version's lists have none
    if not training:
        return None
    return scores_advice(training["entropy"], training["candidates"], training["cross_temperature"])


def _entropy(logits: NDArray[np.float64]) -> float:
    """Of their softmax, in nats."""
    weights = np.exp(logits - logits.max())
    shares = weights / weights.sum()
    return float(-np.sum(shares * np.log(np.maximum(shares, np.finfo(np.float64).tiny))))
