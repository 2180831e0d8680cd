"""Training of the teachers: one cross-encoder for each fold, on the questions that it will not score."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from transformers import set_seed

from ernie_search._util.files import read_json, write_json
from ernie_search.data import Collection
from ernie_search.errors import DataError, ModelError, SettingsError, StorageError
from ernie_search.mining.lists import Lists, TrainingList
from ernie_search.model import BUNDLED
from ernie_search.model.base import set_attention_dropout
from ernie_search.model.cpu_attention import use_cpu_attention
from ernie_search.model.cross_encoder import (
    Pair,
    cross_encoder_fingerprint,
    new_cross_encoder,
    reads_plain_pairs,
    save_cross_encoder,
    score_pairs,
)
from ernie_search.teacher.listwise import PAIR_ORDERS, ListBatches, ListwiseLoss, PairCollator
from ernie_search.teacher.teachers import (
    FORMAT,
    TEACHERS_FILE,
    Teachers,
    passage_texts,
    question_texts,
    trains_on,
)
from ernie_search.training import log
from ernie_search.training.folder import (
    RESULT_FILE,
    TRAINING_FILE,
    check_identity,
    library_versions,
    model_identity,
    write_identity,
)
from ernie_search.training.joint import ignore_event
from ernie_search.training.settings import TrainerSettings
from ernie_search.training.student import usual_budget
from ernie_search.training.trackers import check_trackers
from ernie_search.training.trainer import (
    Events,
    FolderTraining,
    Observer,
    StepCounts,
    StepTrainer,
    trainer_arguments,
)

MODEL_FOLDER = "model"


class TeacherSettings(TrainerSettings):
    """Listwise training of cross-encoders on positives and mined negatives (docs/method.md, "The teacher").

    The defaults are ours, for a small base and minutes of training. The attributes of
    :class:`~ernie_search.training.settings.TrainerSettings`, and:

    Attributes:
        base: any encoder, by hub name, directory, or the bundled one's name.
        layers: keep only the first so many of its layers.
        folds: 2 trains two teachers, each on the questions that the other scores; 1 trains one on all.
        negatives: a step scores ``questions_per_batch * (1 + negatives)`` pairs. A list with fewer negatives
            is scored as it is.
        backwards: in how many equal parts a step's questions go through the model; memory falls with it, the
            loss stays the same.
        temperature: the logits are divided by it before the softmax over a list.
        max_length: tokens kept of a pair, special tokens included.
        precision: ``auto`` measures whether bf16 is faster on this machine.
        held_out: on how many lists that it is not trained on a teacher is measured during training; with one
            fold there are none.
    """

    base: str = Field(BUNDLED, min_length=1)
    layers: int | None = Field(None, ge=1)
    folds: int = Field(2, ge=1)
    steps: int = Field(400, ge=1)
    questions_per_batch: int = Field(16, ge=1)
    negatives: int = Field(7, ge=1)
    backwards: int = Field(4, ge=1)
    temperature: float = Field(1.0, gt=0)
    max_length: int = Field(256, ge=8)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    held_out: int = Field(100, ge=1)

    def check(self) -> "TeacherSettings":
        """Refuse settings that exclude each other, before anything is loaded.

        Raises:
            SettingsError: the questions of a step can't be cut into equal parts.
        """
        if self.questions_per_batch % self.backwards:
            raise SettingsError(
                f"backwards={self.backwards} does not divide questions_per_batch={self.questions_per_batch}; "
                "choose a divisor of it"
            )
        return self


def sample_lists(lists: Iterable[TrainingList], number: int) -> list[TrainingList]:
    """A sample of the lists with negatives, chosen by a hash of the question's id, so in whatever order."""
    kept = [one for one in lists if one.negatives]
    kept.sort(key=lambda one: hashlib.sha256(f"held-out:{one.query}".encode()).digest())
    return kept[:number]


class HeldOutEvaluator(BaseEvaluator):
    """MRR of the positive among its own list, on lists that the teacher is not trained on.

    It is only reported. The teacher will score these lists, so choosing a checkpoint by them would tell it
    of them.

    Attributes:
        lists: pairs of each list: the question with its first positive, then with each of its negatives.
    """

    def __init__(self, lists: list[list[Pair]], *, bf16: bool, token_budget: int | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lists, self.bf16, self.token_budget = lists, bf16, token_budget
        self.primary_metric = "held_out_mrr"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Measure, and return ``{"held_out_mrr": ..}``."""
        pairs = [pair for one in self.lists for pair in one]
        scores = score_pairs(model, pairs, token_budget=self.token_budget, bf16=self.bf16)
        start, total = 0, 0.0
        for one in self.lists:
            row = scores[start : start + len(one)]
            # Ties count against the positive: a teacher that scores all alike knows nothing.
            total += 1.0 / float((row >= row[0]).sum())
            start += len(one)
        return {"held_out_mrr": total / max(1, len(self.lists))}


class TeacherTrainer(StepTrainer, CrossEncoderTrainer):
    """The step trainer of cross-encoders."""


class TeacherTraining(FolderTraining[None]):
    """The training of one teacher, whose last model is kept.

    The learning rate has fallen to zero by then, and there is nothing independent to choose another by.
    """

    panels = (
        ("listwise loss", "loss_listwise"),
        ("entropy over a list, nats", "entropy"),
        ("norm of the gradient", "grad_norm"),
        ("lists it is not trained on, MRR", "eval_"),
    )
    saved = MODEL_FOLDER

    def __init__(
        self,
        number: int,
        folder: Path,
        settings: TeacherSettings,
        collection: Collection,
        lists: Lists,
        split: str,
        observer: Observer,
    ) -> None:
        super().__init__(folder, settings, observer)
        own: list[TrainingList] = []
        others: list[TrainingList] = []
        for one in lists:
            (own if trains_on(number, one.positives, settings.folds) else others).append(one)
        self.lists = len(own)
        shown = {passage for one in own for passage in one.positives}
        self.shared = sum(not shown.isdisjoint(one.positives) for one in others) / max(1, len(others))
        batches = ListBatches(
            [one for one in own if one.negatives],  # nothing is learned from the others
            steps=settings.steps,
            questions=settings.questions_per_batch,
            negatives=settings.negatives,
            backwards=settings.backwards,
            seed=settings.seed,
        )
        set_seed(settings.seed)
        self.model = new_cross_encoder(
            settings.base, layers=settings.layers, max_length=settings.max_length, seed=settings.seed
        )
        if not reads_plain_pairs(self.model):
            raise ModelError(
                f"{settings.base}: no plain encoder with a fast tokenizer, which training a teacher needs; "
                "choose such a base, or use this one as a ready teacher"
            )
        set_attention_dropout(self.model, settings.attention_dropout)
        use_cpu_attention(self.model)
        budget = settings.token_budget or usual_budget(self.model.device)
        held_out = sample_lists(others, settings.held_out) if settings.evaluations else []
        questions, passages = _texts(collection, batches, held_out, split)
        self.counts = StepCounts(PAIR_ORDERS)
        bf16 = settings.precision == "bf16"
        evaluator = None
        if held_out:
            pairs = [[(questions[one.query], passages[name]) for name in _measured(one)] for one in held_out]
            evaluator = HeldOutEvaluator(pairs, bf16=bf16, token_budget=settings.token_budget or None)
        self.trainer = TeacherTrainer(
            model=self.model,
            args=trainer_arguments(
                CrossEncoderTrainingArguments,
                folder,
                settings,
                bf16=bf16,
                on_cpu=self.model.device.type == "cpu",
                evaluates=bool(held_out),
                per_device_train_batch_size=settings.questions_per_batch // settings.backwards,
                gradient_accumulation_steps=settings.backwards,
                dataloader_pin_memory=False,
            ),
            batches=batches,
            keep_checkpoints=settings.keep_checkpoints,
            loss=ListwiseLoss(self.model, settings.temperature),
            counts=self.counts,
            evaluator=evaluator,
            data_collator=PairCollator(self.model, questions, passages, budget),
            callbacks=[Events(self.observe)],
        )

    def observe(self, name: str, values: dict[str, Any]) -> None:
        """Log losses and measurements, and pass the event on; ``dev`` becomes ``held_out``."""
        if name == "dev":
            name = "held_out"
        if name in ("log", "held_out"):
            log.append(self.folder, name, values)
        self.observer(name, values)

    def save(self, folder: Path) -> None:
        """Save the cross-encoder."""
        save_cross_encoder(self.model, folder)

    def write_result(self) -> None:
        """Write ``result.json``."""
        result = {
            "fingerprint": cross_encoder_fingerprint(self.model),
            "lists": self.lists,
            "shared_positives": round(self.shared, 4),
            "steps": self.settings.steps,
            "seconds": round(self.counts.seconds, 2),
            "truncated": self.counts.truncated_shares()["pair"],
            "held_out_mrr": _last_held_out(self.folder),
        }
        write_json(self.folder / RESULT_FILE, result)


def _last_held_out(folder: Path) -> float | None:
    """The last measurement, from the log, as it may be of a call that was killed right after it."""
    path, found = folder / log.LOG_FILE, None
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        values = json.loads(line)
        if values["event"] == "held_out":
            found = float(values["eval_held_out_mrr"])
    return found


def _measured(one: TrainingList) -> tuple[str, ...]:
    """Passages of a list that a measurement scores."""
    return (one.positives[0], *one.negatives)


def _texts(
    collection: Collection, batches: ListBatches, held_out: list[TrainingList], split: str
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Texts of the questions and passages of all steps and measurements, and of no others."""
    shown = {one.query for one in held_out}
    wanted: dict[str, str] = {}
    for question, passage in batches.drawn_passages():
        shown.add(question)
        wanted.setdefault(passage, f"question {question!r}: its passage")
    for one in held_out:
        for passage in _measured(one):
            wanted.setdefault(passage, f"question {one.query!r}: its passage")
    return question_texts(collection, shown, split), passage_texts(collection, wanted)


def train_teachers(
    collection: Collection,
    lists: Lists,
    output: Path,
    settings: TeacherSettings,
    observer: Observer | None = None,
    *,
    split: str = "train",
) -> Teachers:
    """Train ``settings.folds`` cross-encoders listwise, or resume a training that the same call began.

    Args:
        collection: that the lists were mined from.
        lists: a positive and the negatives of each training question; their scores are not read.
        output: gets ``teacher-0/``, ``teacher-1/``, ... (each with its plain CrossEncoder directory
            ``model/``, checkpoints and log), ``training.json``, and at the end ``teachers.json``.
        settings: what to train.
        observer: called with every event: those of :mod:`ernie_search.training.trainer`, before each teacher
            ``teacher`` with ``number`` and ``teachers``, and ``held_out`` in place of ``dev``.
        split: of the lists' questions.

    Raises:
        TrainingError: the folder holds another training, be it of other weights of the base alone; the loss
            is not finite; a fold has too few lists.
        DataError: the lists are of another corpus, or name what the collection lacks.
        SettingsError, ModelError, StorageError: from the settings, the base and the folder.
    """
    settings.check()
    check_same_data(lists, collection)
    check_trackers(settings.report_to)
    identity = {
        "format": FORMAT,
        "settings": settings.model_dump(exclude={"report_to"}),
        "base_weights": model_identity(settings.base),
        "collection": collection.fingerprint,
        "lists": lists.fingerprint,
        "split": split,
        "versions": library_versions(),
    }
    output = Path(output)
    if (output / TEACHERS_FILE).is_file() and (output / TRAINING_FILE).is_file():
        begun = read_json(output / TRAINING_FILE)
        if isinstance(begun, dict) and "base_weights" not in begun:
            del identity["base_weights"]  # finished before these were noted: the teachers are what they are
    precision = check_identity(output, identity, settings.precision)
    if (output / TEACHERS_FILE).is_file():
        return Teachers.open(output)
    chosen = settings.model_copy(update={"precision": precision})
    observer = observer or ignore_event
    found = []
    for number in range(settings.folds):
        folder = output / f"teacher-{number}"
        if not (folder / RESULT_FILE).is_file():
            observer("teacher", {"number": number, "teachers": settings.folds})
            training = TeacherTraining(number, folder, chosen, collection, lists, split, observer)
            write_identity(output, identity, precision)
            training.train()
        result = read_json(folder / RESULT_FILE)
        if not isinstance(result, dict) or not isinstance(result.get("fingerprint"), str):
            raise StorageError(
                f"{folder / RESULT_FILE}: does not say which teacher this is; delete {folder} and run again"
            )
        found.append(result | {"model": f"{folder.name}/{MODEL_FOLDER}"})
    about = {"format": FORMAT, "collection": collection.fingerprint, "lists": lists.fingerprint}
    write_json(output / TEACHERS_FILE, about | {"precision": precision, "teachers": found})
    return Teachers.open(output)


def check_same_data(lists: Lists, collection: Collection) -> None:
    """Refuse lists of another corpus.

    Raises:
        DataError: their data fingerprints differ.
    """
    if lists.data_fingerprint != collection.fingerprint:
        raise DataError(
            f"{lists.folder}: lists of data {lists.data_fingerprint}, {collection.source} is "
            f"{collection.fingerprint}; name the collection that they were mined from, or mine again"
        )
