"""sentence-transformers' trainer, with the four things that our models need done differently."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from accelerate.data_loader import prepare_data_loader
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.trainer import BaseTrainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import TrainerCallback

from ernie_search._util.files import storage_errors
from ernie_search.errors import TrainingError
from ernie_search.training.checkpoints import STAGING, checkpoint_steps, publish
from ernie_search.training.settings import TrainSettings
from ernie_search.training.tally import Tally
from ernie_search.training.world import World, seed_rank


def arguments(
    output: Path, settings: TrainSettings, *, on_cpu: bool, with_dev: bool
) -> SentenceTransformerTrainingArguments:
    """The trainer's arguments.

    Args:
        output: folder of the run.
        settings: of the run; its precision is decided already.
        on_cpu: whether the model is.
        with_dev: whether there is a dev sample to measure on the way.
    """
    return SentenceTransformerTrainingArguments(
        output_dir=str(output),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.questions_per_batch,
        learning_rate=settings.learning_rate,
        learning_rate_mapping={r"token_head": settings.head_learning_rate},
        weight_decay=settings.weight_decay,
        warmup_steps=math.ceil(settings.warmup * settings.steps),
        lr_scheduler_type="linear",
        optim="adamw_torch_fused",
        max_grad_norm=settings.max_grad_norm,
        bf16=settings.precision == "bf16",
        tf32=True if settings.precision == "tf32" else None,  # None leaves torch as it is
        use_cpu=on_cpu,  # without it, bf16 is refused where there is no GPU
        seed=settings.seed,
        logging_steps=max(1, settings.steps // 20),
        logging_nan_inf_filter=False,
        eval_strategy="steps" if with_dev and settings.evaluations else "no",
        eval_steps=_at_least_one(settings.steps / max(1, settings.evaluations)),
        save_strategy="steps",
        save_steps=_at_least_one(settings.steps / settings.checkpoints),
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=not on_cpu,
        dataloader_drop_last=True,  # our loader has nothing to drop; else several ranks are warned of it
        # Buffers are constants here, and a broadcast between a step's forwards would spoil its backward.
        ddp_broadcast_buffers=False,
    )


def _at_least_one(value: float) -> int:
    return max(1, math.ceil(value))


Observer = Callable[[str, dict[str, Any]], None]
"""Told of every event: its name (``prepare``, ``filled``, ``start``, ``step``, ``log``, ``dev``,
``checkpoint``, ``end``), and what there is to say. ``filled`` comes only where BM25 found too few negatives;
``end`` comes last, also when the run failed."""


class RawParts(Protocol):
    """A loss that also gathers what is logged beside its weighted parts."""

    def take_raw(self) -> dict[str, float]:
        """Means since the last call."""


class StepTrainer(BaseTrainer):
    """Steps as data, loss parts by name, a stop at NaN, and checkpoints that a kill cannot halve.

    What is the same for every kind of model; the loss is one with :class:`RawParts`.
    """

    def __init__(
        self,
        *,
        batches: Dataset[Any],
        keep_checkpoints: int,
        tally: Tally,
        world: World | None = None,
        **kwargs: Any,
    ) -> None:
        self.batches = batches
        self.world = world or World()
        self.keep_checkpoints = keep_checkpoints
        self.tally = tally
        super().__init__(**kwargs)

    def get_train_dataloader(self) -> Any:
        """One item a step. The generator is the loader's own, so that making a loader (as a resume does)
        takes nothing from the random numbers of the training."""
        loader: DataLoader[Any] = DataLoader(
            self.batches, batch_size=1, collate_fn=self.data_collator, generator=torch.Generator()
        )
        if self.world.size == 1:
            return self.accelerator.prepare(loader)
        # Every rank sees every step, and the collator takes its share of it: accelerate must not share out.
        device = self.accelerator.device
        return prepare_data_loader(loader, device, num_processes=1, process_index=0, put_on_device=True)

    def collect_features(self, inputs: dict[str, Any]) -> tuple[Any, None]:
        """The collated step goes to the loss as it is."""
        return inputs, None

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """The trainer's own; a loss that is no number stops the run before it reaches the weights."""
        # Counted here and not while collating: the loader collates one step ahead of a checkpoint.
        self.tally.add(inputs)
        loss = super().training_step(model, inputs, *args, **kwargs)
        self._stop_unless_finite("loss", loss.item())
        return loss

    def _clip_grad_norm(self, model: Any) -> Any:
        """The trainer's own; a finite loss can still have a gradient that is no number."""
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
        """Add raw loss parts and the teacher's entropy to the weighted parts."""
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
                self.world.first(lambda: self._publish(staging, folder))
        finally:
            self.args.output_dir = str(folder)
            self._clear(staging)  # what a full disk left is of no use

    def _clear(self, staging: Path) -> None:
        if self.world.speaks:
            shutil.rmtree(staging, ignore_errors=True)

    def _publish(self, staging: Path, folder: Path) -> None:
        with storage_errors(folder):
            self.tally.write(staging / f"checkpoint-{self.state.global_step}")
            publish(staging, folder, self.keep_checkpoints)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """The trainer's own; on another number of ranks than the checkpoint's, fresh random numbers."""
        saved = len(list(Path(checkpoint).glob("rng_state*.pth"))) if checkpoint else self.world.size
        if saved == self.world.size:
            super()._load_rng_state(checkpoint)
        else:
            seed_rank(self.args.seed, self.state.global_step, self.world)


class JointTrainer(StepTrainer, SentenceTransformerTrainer):
    """For the joint encoder."""


class Events(TrainerCallback):
    """Hands the trainer's events to an observer."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """One optimizer step done."""
        if control.should_save or state.global_step >= state.max_steps:
            # What gathered since the last line is not in a checkpoint: say it, before it could be lost.
            control.should_log = True
        self.observer("step", {"step": state.global_step, "steps": state.max_steps})
        return control

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Losses, learning rate, gradient norm; not the trainer's summary, which knows this call only."""
        if logs and "loss" in logs:
            self.observer("log", {"step": state.global_step, **logs})

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Dev measured."""
        self.observer("dev", {"step": state.global_step, **(metrics or {})})

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A checkpoint is on disk."""
        self.observer("checkpoint", {"step": state.global_step})
