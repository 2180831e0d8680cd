"""Scoring of mined lists by teachers, shard by shard, so that an interrupted scoring resumes."""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from ernie_search import __version__
from ernie_search._util.files import (
    MANIFEST,
    atomic_write,
    fsync_directory,
    read_json,
    remove,
    sha256_file,
    storage_errors,
    write_json,
)
from ernie_search._util.hardware import prefers_bf16
from ernie_search._util.settings import TypedSettings, read_record
from ernie_search.data import Collection
from ernie_search.encoding.executors import Executor, LocalExecutor
from ernie_search.errors import DataError, StorageError
from ernie_search.losses import entropy_advice
from ernie_search.mining.lists import Lists, TrainingList, write_lists
from ernie_search.teacher.teachers import Teachers, passage_texts, question_texts
from ernie_search.teacher.train import check_same_data
from ernie_search.training.settings import TrainSettings

FORMAT = 1
SCORES_FILE = "scores.json"
SHARDS = "shards"
STAGING = ".lists"
"""Where the scored lists are written before they move up."""
SCHEMA = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("positive_scores", pa.list_(pa.float32()), nullable=False),
        pa.field("negative_scores", pa.list_(pa.float32()), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class ScoredList:
    """A question's scores, in the order of its list."""

    query: str
    positive_scores: tuple[float, ...]
    negative_scores: tuple[float, ...]


@dataclass(slots=True)
class ScoreFolder:
    """A folder of scores, finished or not.

    Attributes:
        folder: where it lies.
        key: teachers, data and lists of the scores; a folder with another key is refused.
        precision: of the scoring, kept when it is resumed: which is faster is a measurement, which may come
            out differently the next time.
        shard_size: lists in a shard; kept when the scoring is resumed.
        shards: file name -> SHA-256 of the finished ones.
        seconds: spent scoring, in all calls.
    """

    folder: Path
    key: dict[str, Any]
    precision: str
    shard_size: int
    shards: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    version: str = __version__
    format: int = FORMAT

    @staticmethod
    def begin(folder: Path, key: dict[str, Any], *, precision: str, shard_size: int) -> "ScoreFolder":
        """Begin a folder (nothing is written yet), or open one that was begun with the same key.

        Raises:
            DataError: it holds other scores (it says which), or a shard was altered since it was written.
            StorageError: it is a file, or holds something else.
        """
        if folder.exists() and not folder.is_dir():
            raise StorageError(f"{folder}: is a file; choose a folder for the scores")
        if not (folder / SCORES_FILE).is_file():
            strangers = (
                sorted(p.name for p in folder.iterdir() if p.name != SHARDS) if folder.is_dir() else []
            )
            strangers = [name for name in strangers if not name.startswith(f".{SCORES_FILE}.")]
            if strangers:
                raise StorageError(
                    f"{folder}: holds {strangers[0]!r} but no {SCORES_FILE}; choose an empty or new folder"
                )
            return ScoreFolder(folder, key, precision, shard_size)
        found = read_json(folder / SCORES_FILE)
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise DataError(
                f"{folder / SCORES_FILE}: not of scores in format {FORMAT}; delete {folder} and score again"
            )
        try:
            begun = read_record(ScoreFolder, found | {"folder": str(folder)})
        except ValueError as error:
            raise DataError(
                f"{folder / SCORES_FILE}: not readable as scores ({error}); delete {folder} and score again"
            ) from error
        before = begun.key
        other = [
            f"{name} {before.get(name)}, now {value}"
            for name, value in key.items()
            if before.get(name) != value
        ]
        if other:
            raise DataError(
                f"{folder}: holds other scores ({'; '.join(other)}); choose another folder or delete this one"
            )
        begun._check_shards()
        return begun

    def _check_shards(self) -> None:
        for name, sha256 in self.shards.items():
            path = self.folder / SHARDS / name
            if path.is_file() and sha256_file(path) != sha256:
                raise DataError(
                    f"{path}: its bytes changed since it was written (SHA-256 differs); "
                    "delete it and run the same command again to score its lists anew"
                )
        self.shards = {
            name: sha256 for name, sha256 in self.shards.items() if (self.folder / SHARDS / name).is_file()
        }

    @property
    def finished(self) -> bool:
        """Whether the scored lists are there."""
        return (self.folder / MANIFEST).is_file()

    def write(self) -> None:
        """Write ``scores.json``."""
        values = asdict(self)
        del values["folder"]
        write_json(self.folder / SCORES_FILE, values)

    def add(self, number: int, scored: Sequence[ScoredList], seconds: float) -> None:
        """Write a shard, then the manifest that names it: a kill between the two costs this shard."""
        path = self.folder / SHARDS / shard_name(number)
        columns = [pa.array([getattr(one, f.name) for one in scored], f.type) for f in SCHEMA]
        with atomic_write(path, "wb") as handle:
            table = pa.Table.from_arrays(columns, schema=SCHEMA)
            pq.write_table(table, handle, compression="zstd", write_statistics=False)
        self.shards[path.name] = sha256_file(path)
        self.seconds = round(self.seconds + seconds, 3)
        self.write()

    def scores(self) -> Iterator[ScoredList]:
        """All scores, in the order of the lists; one shard is held at a time.

        Raises:
            DataError: a shard cannot be read.
        """
        for name in sorted(self.shards):
            path = self.folder / SHARDS / name
            try:
                columns = pq.ParquetFile(path).read().to_pydict()
                rows = zip(*(columns[column] for column in SCHEMA.names), strict=True)
                yield from (ScoredList(query, tuple(ours), tuple(theirs)) for query, ours, theirs in rows)
            except (pa.ArrowException, KeyError, TypeError, ValueError, OSError) as error:
                reason = str(error).partition("\n")[0]
                raise DataError(
                    f"{path}: not readable as scores ({reason}); delete it and run the same command again"
                ) from error

    def empty_staging(self) -> Path:
        """The staging folder of the scored lists, cleared of what a kill in ``move_up`` left there."""
        staging = self.folder / STAGING
        with storage_errors(self.folder):
            remove(staging)
        return staging

    def move_up(self) -> None:
        """Bring the scored lists from the staging folder to their place, the manifest last."""
        staging = self.folder / STAGING
        with storage_errors(self.folder):
            names = sorted((path.name for path in staging.iterdir()), key=lambda name: name == MANIFEST)
            for name in names:
                os.replace(staging / name, self.folder / name)
            fsync_directory(self.folder)
            shutil.rmtree(staging, ignore_errors=True)


def shard_name(number: int) -> str:
    """``scores-00007.parquet``."""
    return f"scores-{number:05d}.parquet"


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
    teachers: Teachers | str | Path,
    collection: Collection,
    lists: Lists,
    output: Path,
    settings: ListScoreSettings | None = None,
    *,
    progress: Callable[[int], None] | None = None,
    executor: Executor | None = None,
) -> Lists:
    """Score every passage of every list with the teacher that was not trained on the question.

    Args:
        teachers: a folder of trained ones, a ready cross-encoder's directory or name, or either opened.
        collection: that the lists were mined from; its passages are read once, and the needed texts held.
        lists: streamed; scores that they have are replaced.
        output: gets the scores in shards, and at the end the scored lists: a folder for ``Lists.open``.
        settings: how.
        progress: called with the number of lists done since its last call, those of earlier calls included.
        executor: where pairs are scored; by default in this process. Only this process writes files.

    Returns:
        The scored lists. A finished folder is checked and left alone.

    Raises:
        DataError: lists of another corpus, an output folder with other scores, a shard or the lists altered
            since they were written, a question or passage that the collection lacks.
        ModelError: a teacher cannot be loaded, or its score is not finite.
        StorageError: the disk is full or not writable. Finished shards stay.
        ExecutorError: the executor failed. Finished shards stay.
    """
    executor = executor or LocalExecutor()
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
        ((_, faster),) = executor.run(teachers, bf16_pays, [("precision", None, 0)])
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
    _Scoring(teachers, collection, lists, state, settings, progress, executor).score()
    about = dict(lists.manifest)
    scored = _with_summary(_joined(lists, state), about, teachers, state)
    write_lists(state.empty_staging(), scored, data_fingerprint=lists.data_fingerprint, about=about)
    state.move_up()
    return Lists.open(state.folder)


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
        teachers: Teachers,
        collection: Collection,
        lists: Lists,
        state: ScoreFolder,
        settings: ListScoreSettings,
        progress: Callable[[int], None] | None,
        executor: Executor,
    ) -> None:
        self.teachers, self.collection, self.lists, self.state = teachers, collection, lists, state
        self.settings, self.progress, self.executor = settings, progress, executor

    def score(self) -> None:
        """Score the missing shards."""
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
                numbers, pairs = [], []
                for one in group:
                    number_of_teacher = self.teachers.of(one.positives)
                    for passage in chain(one.positives, one.negatives):
                        numbers.append(number_of_teacher)
                        pairs.append((questions[one.query], passages[passage]))
                budget = self.settings.token_budget or None
                yield number, ScoreJob(numbers, pairs, budget, self.state.precision == "bf16"), len(group)

        last = time.perf_counter()
        for number, scores in self.executor.run(self.teachers, score_job, jobs()):
            now = time.perf_counter()
            group = groups.pop(number)
            self.state.add(number, list(_by_list(group, scores)), now - last)
            last = now
            if self.progress is not None:
                self.progress(len(group))

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


def _by_list(lists: Sequence[TrainingList], scores: list[float]) -> Iterator[ScoredList]:
    """Scores by list, from the flat scores of all pairs."""
    start = 0
    for one in lists:
        middle = start + len(one.positives)
        stop = middle + len(one.negatives)
        yield ScoredList(one.query, tuple(scores[start:middle]), tuple(scores[middle:stop]))
        start = stop


def _joined(lists: Lists, state: ScoreFolder) -> Iterator[TrainingList]:
    """The lists joined with their scores."""
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
    """Pass the lists on; after the last one ``about["scores"]`` holds a summary of the scores.

    ``positive_first``: share of the lists with negatives whose best positive is above them all; ``entropy``:
    mean entropy, in nats, of the softmax over a list's first positive and its negatives at temperature 1;
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
