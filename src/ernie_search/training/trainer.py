"""sentence-transformers' trainer with whole checkpoints and a stop at NaN, and trainings in a folder."""

import contextlib
import math
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

import torch
from accelerate.data_loader import prepare_data_loader
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.base.trainer import BaseTrainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PrinterCallback, TrainerCallback, TrainingArguments
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_callback import ProgressCallback

from ernie_search._util.files import (
    atomic_directory,
    read_json,
    recover_directory,
    storage_errors,
    write_json,
)
from ernie_search.errors import TrainingError
from ernie_search.losses.lead import Lead
from ernie_search.training import log, trackers
from ernie_search.training.folder import (
    STAGING,
    checkpoint_steps,
    clear_leftovers,
    latest_checkpoint,
    publish,
)
from ernie_search.training.settings import TrainerSettings
from ernie_search.training.step import JointLoss
from ernie_search.training.world import World, seed_rank

COUNTS_FILE = "counts.json"
ORDERS = {"query": "question_order", "passage": "passage_order"}
"""Kinds of texts, and the entry of a collated step that has one element for each text."""

Arguments = TypeVar("Arguments", bound=TrainingArguments)
Result = TypeVar("Result")
Observer = Callable[[str, dict[str, Any]], None]
"""Called with the name and the values of every event: ``prepare``, ``filled``, ``start``, ``listed``,
``step``, ``log``, ``dev``, ``checkpoint``, ``end``. ``filled`` comes only where BM25 found too few negatives,
``listed`` whenever vectors of list passages were encoded; ``end`` comes last, also when the training
failed."""


@dataclass(slots=True)
class StepCounts:
    """Seconds, texts and truncated texts of the steps so far, kept in every checkpoint.

    Steps that a kill undid don't count: they are taken, and counted, again.

    Attributes:
        orders: the kinds of texts, see :data:`ORDERS`.
        texts, truncated: by kind, how many texts were encoded, and how many were longer than the model reads.
        earlier: seconds of earlier calls, up to the checkpoint that this call resumed from.
        started: the clock when this call began.
        world: the ranks whose texts are counted together.
    """

    orders: Mapping[str, str] = field(default_factory=lambda: ORDERS)
    texts: dict[str, int] = field(default_factory=dict)
    truncated: dict[str, int] = field(default_factory=dict)
    earlier: float = 0.0
    started: float = field(default_factory=time.monotonic)
    world: World = field(default_factory=World)

    @property
    def seconds(self) -> float:
        """Seconds of training, in this call and in earlier ones."""
        return self.earlier + time.monotonic() - self.started

    def add(self, batch: Mapping[str, Any]) -> None:
        """Count one collated step, of all ranks."""
        counts = {kind: len(batch[order]) for kind, order in self.orders.items()}
        counts |= {f"{kind}_truncated": int(batch["truncated"][kind]) for kind in self.orders}
        counts = self.world.sum(counts)
        for kind in self.orders:
            self.texts[kind] = self.texts.get(kind, 0) + counts[kind]
            self.truncated[kind] = self.truncated.get(kind, 0) + counts[f"{kind}_truncated"]

    def truncated_shares(self) -> dict[str, float]:
        """Truncated texts over all texts, by kind."""
        return {
            kind: round(self.truncated.get(kind, 0) / max(1, self.texts.get(kind, 0)), 4)
            for kind in self.orders
        }

    def write(self, checkpoint: Path) -> None:
        """Write ``counts.json`` into a checkpoint."""
        values = {"seconds": self.seconds, "texts": self.texts, "truncated": self.truncated}
        write_json(checkpoint / COUNTS_FILE, values)

    def resume(self, checkpoint: Path) -> None:
        """Continue from the counts of a checkpoint."""
        values = read_json(checkpoint / COUNTS_FILE)
        self.earlier, self.texts, self.truncated = values["seconds"], values["texts"], values["truncated"]


def steps_between_checkpoints(settings: TrainerSettings) -> int:
    """After how many steps a checkpoint is written, and the next one."""
    return max(1, math.ceil(settings.steps / settings.checkpoints))


def trainer_arguments(
    kind: type[Arguments],
    output: Path,
    settings: TrainerSettings,
    *,
    bf16: bool,
    on_cpu: bool,
    evaluates: bool,
    **others: Any,
) -> Arguments:
    """The trainer's arguments.

    Args:
        kind: sentence-transformers' class of arguments for this kind of model.
        output: the training folder.
        settings: of the training.
        bf16: whether to train in bf16.
        on_cpu: whether the model is on a processor.
        evaluates: whether there is something to measure during training.
        others: arguments of this kind of training.
    """
    return kind(
        output_dir=str(output),
        max_steps=settings.steps,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=math.ceil(settings.warmup * settings.steps),
        lr_scheduler_type="linear",
        optim="adamw_torch_fused",
        max_grad_norm=settings.max_grad_norm,
        bf16=bf16,
        use_cpu=on_cpu,  # without it, bf16 is refused where there is no GPU
        seed=settings.seed,
        logging_steps=max(1, settings.steps // 20),
        logging_nan_inf_filter=False,
        eval_strategy="steps" if evaluates and settings.evaluations else "no",
        eval_steps=max(1, math.ceil(settings.steps / max(1, settings.evaluations))),
        save_strategy="steps",
        save_steps=steps_between_checkpoints(settings),
        report_to=trackers.reported_by_trainer(settings.report_to),
        run_name=trackers.run_name(output),
        disable_tqdm=True,
        remove_unused_columns=False,
        **others,
    )


class RawParts(Protocol):
    """A loss that also collects what is logged beside its weighted parts."""

    def take_raw(self) -> dict[str, float]:
        """Means since the last call."""


class StepTrainer(BaseTrainer):
    """A trainer whose data are steps, which logs loss parts by name and stops at NaN.

    Its checkpoints are whole or absent. It is the same for every kind of model; the loss has
    :class:`RawParts`.
    """

    def __init__(
        self,
        *,
        batches: Dataset[Any],
        keep_checkpoints: int,
        counts: StepCounts,
        world: World | None = None,
        **kwargs: Any,
    ) -> None:
        self.batches = batches
        self.world = world or World()
        self.keep_checkpoints = keep_checkpoints
        self.counts = counts
        super().__init__(train_dataset=None, **kwargs)
        for unwanted in (PrinterCallback, ProgressCallback):
            self.remove_callback(unwanted)

    def get_train_dataloader(self) -> Any:
        """One item per step.

        The loader has its own generator, so that making a loader (as a resume does) takes nothing from the
        random numbers of the training.
        """
        loader: DataLoader[Any] = DataLoader(
            self.batches, batch_size=1, collate_fn=self.data_collator, generator=torch.Generator()
        )
        if self.world.size == 1:
            return self.accelerator.prepare(loader)
        # Every rank sees every step, and the collator takes its share of it: accelerate must not split it.
        device = self.accelerator.device
        return prepare_data_loader(loader, device, num_processes=1, process_index=0, put_on_device=True)

    def collect_features(self, inputs: dict[str, Any]) -> tuple[Any, None]:
        """Pass the collated step to the loss as it is."""
        return inputs, None

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """Take one step, and stop at a loss that is not finite before it reaches the weights."""
        # Counted here and not while collating: the loader collates one step ahead of a checkpoint.
        self.counts.add(inputs)
        loss = super().training_step(model, inputs, *args, **kwargs)
        self._stop_unless_finite("loss", loss.item())
        return loss

    def _clip_grad_norm(self, model: Any) -> Any:
        """Clip the gradient, and stop if it is not finite, as the gradient of a finite loss can be."""
        norm = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]
        self._stop_unless_finite("norm of the gradient", float(norm))
        return norm

    def _stop_unless_finite(self, what: str, value: float) -> None:
        if math.isfinite(value):
            return
        folder = Path(str(self.args.output_dir))
        kept = max(checkpoint_steps(folder), default=None)
        raise TrainingError(
            f"{folder}: the {what} is {value} at step {self.state.global_step + 1}; "
            f"{f'checkpoint-{kept} is kept' if kept else 'there is no checkpoint yet'}. "
            "Lower learning_rate or raise the temperatures, and train into another folder"
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log raw loss parts and the teachers' entropies beside the weighted parts."""
        if "loss" in logs:
            logs = logs | cast(RawParts, self.loss).take_raw()
        super().log(logs, start_time)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write under a staging folder, fsync, rename: a checkpoint is whole or absent."""
        folder = Path(str(self.args.output_dir))
        staging = folder / STAGING
        self._clear(staging)
        self.world.barrier()
        self.args.output_dir = str(staging)
        try:
            with storage_errors(folder):
                super()._save_checkpoint(model, trial)
                self.world.barrier()  # now the random state of every rank is there
                self.world.on_main(lambda: self._publish(staging, folder))
        finally:
            self.args.output_dir = str(folder)
            self._clear(staging)  # what a full disk left is of no use

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The model as sentence-transformers' trainer saves it, but for the card, which no checkpoint needs.

        The card's template takes longer than the weights of a small model. Every rank is asked to
        save; two that write one folder at a time leave a manifest of half-written files, so one does.
        """
        if not self.world.is_main:
            return
        folder = Path(output_dir or str(self.args.output_dir))
        cast(Any, self.model).save_pretrained(str(folder), create_model_card=False)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(str(folder))
        torch.save(self.args, folder / TRAINING_ARGS_NAME)

    def _clear(self, staging: Path) -> None:
        if self.world.is_main:
            shutil.rmtree(staging, ignore_errors=True)

    def _publish(self, staging: Path, folder: Path) -> None:
        with storage_errors(folder):
            self.counts.write(staging / f"checkpoint-{self.state.global_step}")
            publish(staging, folder, self.keep_checkpoints)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Restore the random state; with another number of ranks than the checkpoint's, seed anew."""
        saved = len(list(Path(checkpoint).glob("rng_state*.pth"))) if checkpoint else self.world.size
        if saved == self.world.size:
            super()._load_rng_state(checkpoint)
        else:
            seed_rank(self.args.seed, self.state.global_step, self.world)


class JointTrainer(StepTrainer, SentenceTransformerTrainer):
    """The step trainer of the joint encoder; its checkpoints hold the teachers' leads, too."""

    @property
    def lead(self) -> Lead:
        """Of the teachers over their students."""
        return cast(JointLoss, self.loss).parts.lead

    def _publish(self, staging: Path, folder: Path) -> None:
        with storage_errors(folder):
            self.lead.write(staging / f"checkpoint-{self.state.global_step}")
        super()._publish(staging, folder)


class Events(TrainerCallback):
    """Passes the trainer's events on to an observer."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Report an optimizer step."""
        if control.should_save or state.global_step >= state.max_steps:
            # What was collected since the last line is not in a checkpoint, so it is logged before.
            control.should_log = True
        self.observer("step", {"step": state.global_step, "steps": state.max_steps})
        return control

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Report losses, learning rate and gradient norm, but not the summary, which knows this call only."""
        if logs and "loss" in logs:
            self.observer("log", {"step": state.global_step, **logs})

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Report a measurement."""
        self.observer("dev", {"step": state.global_step, **(metrics or {})})

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report a checkpoint, which is on disk."""
        self.observer("checkpoint", {"step": state.global_step})


class FolderTraining(ABC, Generic[Result]):
    """A training in its folder: begun or resumed by the same call, logged, and saved at the end.

    A subclass makes the model and the trainer, which has ``Events(self.observe)`` among its callbacks.

    Attributes:
        panels: what ``curves.png`` shows.
        saved: folder of the model that the last step leaves.
        trainer, counts: set by the subclass before :meth:`train`.
    """

    panels: ClassVar[log.Panels]
    saved: ClassVar[str]
    trainer: StepTrainer
    counts: StepCounts

    def __init__(
        self, folder: Path, settings: TrainerSettings, observer: Observer, world: World | None = None
    ) -> None:
        self.folder, self.settings, self.observer = folder, settings, observer
        self.world = world or World()

    @abstractmethod
    def observe(self, name: str, values: dict[str, Any]) -> None:
        """Log an event, and pass it on to the observer."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Save the model."""

    def add_graphs(self) -> None:
        """Write the saved models' graphs for use without torch, where they have any."""

    @abstractmethod
    def write_result(self) -> Result:
        """Write ``result.json``, which marks the training as finished."""

    def train(self) -> Result:
        """Take the steps that are left; then save the model and write the result, in this order."""
        checkpoint = self.world.on_main(self.find_checkpoint)
        step = int(checkpoint.name.split("-")[1]) if checkpoint else 0
        if checkpoint:
            self.resume(checkpoint)
        else:
            seed_rank(self.settings.seed, 0, self.world)
        if self.world.is_main:
            log.rewind(self.folder, step)
            for callback in log.tensorboard_callbacks(self.folder, step):
                self.trainer.add_callback(callback)
        try:
            self.observer("start", {"step": step, "steps": self.settings.steps})
            with trackers.runs_ended(self.settings.report_to):
                self.trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            return self.world.on_main(self._finish)
        finally:
            self.observer("end", {"step": self.trainer.state.global_step, "steps": self.settings.steps})

    def resume(self, checkpoint: Path) -> None:
        """Read what the checkpoint holds in addition to the trainer's own state."""
        self.counts.resume(checkpoint)

    def find_checkpoint(self) -> Path | None:
        """The checkpoint to resume from; what a kill left half written is removed.

        Raises:
            TrainingError: there are checkpoints, and none is whole.
        """
        clear_leftovers(self.folder)
        recover_directory(self.folder / self.saved)
        checkpoint, damaged = latest_checkpoint(self.folder)
        for problem in damaged:
            self.observer("advice", {"text": f"{problem}; resuming from the checkpoint before it"})
        return checkpoint

    def _finish(self) -> Result:
        with atomic_directory(self.folder / self.saved) as folder:
            self.save(folder)
        self.add_graphs()
        with contextlib.suppress(OSError):
            (self.folder / "eval").rmdir()  # sentence-transformers makes it for evaluators that write files
        log.draw_curves(self.folder, self.panels)
        return self.write_result()
