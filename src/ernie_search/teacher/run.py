"""One teacher's training run in its own folder, started or gone on with."""

import contextlib
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentence_transformers.base.evaluation import BaseEvaluator
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from transformers import PrinterCallback, set_seed
from transformers.trainer_callback import ProgressCallback

from ernie_search._util.files import atomic_directory, recover_directory, write_json
from ernie_search.data import Collection
from ernie_search.errors import ModelError
from ernie_search.mining.lists import Lists, TrainingList
from ernie_search.model.base import attention_dropouts
from ernie_search.model.cpu_attention import use_cpu_attention
from ernie_search.model.cross_encoder import (
    Pair,
    cross_encoder_fingerprint,
    new_cross_encoder,
    reads_plain_pairs,
    save_cross_encoder,
    score_pairs,
)
from ernie_search.teacher.loss import ListBatches, ListwiseLoss, PairCollator, PairTally
from ernie_search.teacher.measure import passage_texts, question_texts
from ernie_search.teacher.settings import TeacherSettings
from ernie_search.teacher.teachers import trains_on
from ernie_search.training import log
from ernie_search.training.checkpoints import clear_leftovers, latest_checkpoint
from ernie_search.training.curves import Panels, draw_curves, tensorboard_callbacks
from ernie_search.training.folder import RESULT_FILE
from ernie_search.training.student import usual_budget
from ernie_search.training.trainer import Events, Observer, StepTrainer


@dataclass(slots=True)
class HeldOut:
    """Texts of lists: the question with its first positive, then with each of its negatives."""

    lists: list[list[Pair]]


def sample_lists(lists: Iterable[TrainingList], number: int) -> list[TrainingList]:
    """``number`` of the lists that have negatives, chosen by a hash of the id: stable whatever the order."""
    kept = [one for one in lists if one.negatives]
    kept.sort(key=lambda one: hashlib.sha256(f"held-out:{one.query}".encode()).digest())
    return kept[:number]


class HeldOutEvaluator(BaseEvaluator):
    """MRR of the positive among its own list: watched, and nothing is chosen by it.

    The lists are those that the teacher will score, so choosing a checkpoint on them would tell it of them.
    """

    def __init__(self, sample: HeldOut, *, bf16: bool, token_budget: int | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sample, self.bf16, self.token_budget = sample, bf16, token_budget
        self.primary_metric = "held_out_mrr"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """``{"held_out_mrr": ..}``."""
        pairs = [pair for one in self.sample.lists for pair in one]
        scores = score_pairs(model, pairs, token_budget=self.token_budget, bf16=self.bf16)
        start, total = 0, 0.0
        for one in self.sample.lists:
            row = scores[start : start + len(one)]
            # Ties count against the positive: a teacher that scores all alike knows nothing.
            total += 1.0 / float((row >= row[0]).sum())
            start += len(one)
        return {"held_out_mrr": total / max(1, len(self.sample.lists))}


MODEL_FOLDER = "model"
PANELS: Panels = (
    ("listwise loss", "loss_listwise"),
    ("entropy over a list, nats", "entropy"),
    ("norm of the gradient", "grad_norm"),
    ("lists it is not trained on, MRR", "eval_"),
)


class TeacherTrainer(StepTrainer, CrossEncoderTrainer):
    """For cross-encoders."""


class TeacherRun:
    """The parts of one teacher's training, put together."""

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
        self.folder, self.settings, self.observer = folder, settings, observer
        mine: list[TrainingList] = []
        others: list[TrainingList] = []
        for one in lists:
            (mine if trains_on(number, one.positives, settings.folds) else others).append(one)
        self.lists = len(mine)
        shown = {passage for one in mine for passage in one.positives}
        self.shared = sum(not shown.isdisjoint(one.positives) for one in others) / max(1, len(others))
        batches = ListBatches(
            [one for one in mine if one.negatives],  # nothing is learnt from the others
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
        for dropout in attention_dropouts(self.model):
            dropout.p = settings.attention_dropout
        use_cpu_attention(self.model)
        on_cpu = self.model.device.type == "cpu"
        budget = settings.token_budget or usual_budget(self.model.device)
        watched = sample_lists(others, settings.held_out) if settings.evaluations else []
        questions, passages = _texts(collection, batches, watched, split)
        self.tally = PairTally()
        evaluator = None
        if watched:
            evaluator = HeldOutEvaluator(
                _held_out(watched, questions, passages),
                bf16=settings.precision == "bf16",
                token_budget=settings.token_budget or None,
            )
        self.trainer = TeacherTrainer(
            model=self.model,
            args=self._arguments(on_cpu=on_cpu, watched=bool(watched)),
            train_dataset=None,
            batches=batches,
            keep_checkpoints=settings.keep_checkpoints,
            loss=ListwiseLoss(self.model, settings.temperature),
            tally=self.tally,
            evaluator=evaluator,
            data_collator=PairCollator(self.model, questions, passages, budget),
            callbacks=[Events(self._observe)],
        )
        for unwanted in (PrinterCallback, ProgressCallback):
            self.trainer.remove_callback(unwanted)

    def _arguments(self, *, on_cpu: bool, watched: bool) -> CrossEncoderTrainingArguments:
        settings = self.settings
        return CrossEncoderTrainingArguments(
            output_dir=str(self.folder),
            max_steps=settings.steps,
            per_device_train_batch_size=settings.questions_per_batch // settings.backwards,
            gradient_accumulation_steps=settings.backwards,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            warmup_steps=math.ceil(settings.warmup * settings.steps),
            lr_scheduler_type="linear",
            optim="adamw_torch_fused",
            max_grad_norm=settings.max_grad_norm,
            bf16=settings.precision == "bf16",
            use_cpu=on_cpu,  # without it, bf16 is refused where there is no GPU
            seed=settings.seed,
            logging_steps=max(1, settings.steps // 20),
            logging_nan_inf_filter=False,
            eval_strategy="steps" if watched else "no",
            eval_steps=max(1, math.ceil(settings.steps / max(1, settings.evaluations))),
            save_strategy="steps",
            save_steps=max(1, math.ceil(settings.steps / settings.checkpoints)),
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )

    def _observe(self, name: str, values: dict[str, Any]) -> None:
        if name == "dev":
            name = "held_out"
        if name in ("log", "held_out"):
            log.append(self.folder, name, values)
        self.observer(name, values)

    def train(self) -> None:
        """All steps that are left; then the model and the result, written last."""
        self.folder.mkdir(parents=True, exist_ok=True)
        clear_leftovers(self.folder)
        recover_directory(self.folder / MODEL_FOLDER)
        checkpoint, damaged = latest_checkpoint(self.folder)
        for problem in damaged:
            self.observer("advice", {"text": f"{problem}; going on from the checkpoint before it"})
        step = int(checkpoint.name.split("-")[1]) if checkpoint else 0
        if checkpoint:
            self.tally.go_on_from(checkpoint)
        log.rewind(self.folder, step)
        for callback in tensorboard_callbacks(self.folder, step):
            self.trainer.add_callback(callback)
        try:
            self.observer("start", {"step": step, "steps": self.settings.steps})
            self.trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            self._finish()
        finally:
            self.observer("end", {"step": self.trainer.state.global_step, "steps": self.settings.steps})

    def _finish(self) -> None:
        # The last model: the rate has fallen to zero by then, and nothing independent could choose another.
        with atomic_directory(self.folder / MODEL_FOLDER) as folder:
            save_cross_encoder(self.model, folder)
        with contextlib.suppress(OSError):
            (self.folder / "eval").rmdir()  # made for evaluators that write files
        draw_curves(self.folder, PANELS)
        result = {
            "fingerprint": cross_encoder_fingerprint(self.model),
            "lists": self.lists,
            "shared_positives": round(self.shared, 4),
            "steps": self.settings.steps,
            "seconds": round(self.tally.seconds, 2),
            "truncated": self.tally.shares()["pair"],
            "held_out_mrr": _last_held_out(self.folder),
        }
        write_json(self.folder / RESULT_FILE, result)


def _last_held_out(folder: Path) -> float | None:
    """From the log, as the last measurement may be of a call that was killed right after it."""
    path, found = folder / log.LOG_FILE, None
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        values = json.loads(line)
        if values["event"] == "held_out":
            found = float(values["eval_held_out_mrr"])
    return found


def _texts(
    collection: Collection, batches: ListBatches, watched: list[TrainingList], split: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Texts of the questions and passages that the steps and the watching will show, and of no others."""
    shown = {one.query for one in watched}
    wanted: dict[str, str] = {}
    for question, passage in batches.drawn_passages():
        shown.add(question)
        wanted.setdefault(passage, f"question {question!r}: its passage")
    for one in watched:
        for passage in (one.positives[0], *one.negatives):
            wanted.setdefault(passage, f"question {one.query!r}: its passage")
    return question_texts(collection, shown, split), passage_texts(collection, wanted)


def _held_out(
    watched: list[TrainingList], questions: Mapping[str, str], passages: Mapping[str, str]
) -> HeldOut:
    return HeldOut(
        [
            [(questions[one.query], passages[name]) for name in (one.positives[0], *one.negatives)]
            for one in watched
        ]
    )
