"""The steps of one run: trainer, loss, checkpoints, the best model so far and the last one, put together."""

import contextlib
from pathlib import Path
from typing import Any

from transformers import PrinterCallback
from transformers.trainer_callback import ProgressCallback

from ernie_search.errors import StorageError, TrainingError
from ernie_search.files import (
    altered,
    atomic_directory,
    checksums,
    read_json,
    recover_directory,
    write_json,
)
from ernie_search.model import JointEncoder
from ernie_search.process_memory import keep_freed_memory
from ernie_search.training import log
from ernie_search.training.arguments import arguments
from ernie_search.training.batches import StepBatches
from ernie_search.training.checkpoints import clear_leftovers, latest_checkpoint
from ernie_search.training.collate import Collator
from ernie_search.training.curves import draw_curves
from ernie_search.training.dev import DevEvaluator, DevSample
from ernie_search.training.folder import UNCHECKED, TrainResult, write_result
from ernie_search.training.prepare import TrainingData
from ernie_search.training.settings import TrainSettings
from ernie_search.training.step import JointLoss
from ernie_search.training.student import allowed_padding, make_ready, usual_budget
from ernie_search.training.tally import Tally
from ernie_search.training.teachers import StepTeachers
from ernie_search.training.tensorboard import tensorboard_callbacks
from ernie_search.training.trainer import Events, JointTrainer, Observer
from ernie_search.training.watch import EntropyWatch
from ernie_search.training.world import World, seed_rank

BEST_FILE = "best.json"
CACHED_LARGEST = 1 << 20
"""Bytes of the largest block that stays in the process under gradient caching."""


class Run:
    """One run of what was checked: made ready, then trained or gone on with."""

    def __init__(
        self,
        output: Path,
        settings: TrainSettings,
        model: JointEncoder,
        data: TrainingData,
        observer: Observer,
        teachers: StepTeachers | None = None,
        world: World | None = None,
    ) -> None:
        self.output, self.settings, self.model, self.observer = output, settings, model, observer
        self.world = world = world or World()
        make_ready(model, settings, alone=world.size == 1)
        # With gradient caching memory is what counts: what a micro-batch takes goes back to the system.
        if settings.gradient_cache:
            keep_freed_memory(CACHED_LARGEST)
        else:
            keep_freed_memory()
        model.attach_tokens = settings.needs_tokens
        self.tally = Tally(world=world)
        self.watch = EntropyWatch(settings)
        self.filled = data.filled
        dev = data.dev
        self.metric = "late_mrr" if settings.dense_weight == 0 else "dense_mrr"
        self.best: dict[str, Any] = {"step": 0, "metric": None}
        batches = StepBatches(
            data.examples,
            steps=settings.steps,
            questions=settings.questions_per_batch,
            negatives=settings.negatives,
            seed=settings.seed,
        )
        self.trainer = JointTrainer(
            model=model,
            args=arguments(output, settings, on_cpu=model.device.type == "cpu", with_dev=dev is not None),
            train_dataset=None,
            batches=batches,
            keep_checkpoints=settings.keep_checkpoints,
            loss=JointLoss(model, settings, teachers, world),
            tally=self.tally,
            world=world,
            evaluator=self._evaluator(dev) if dev is not None else None,
            data_collator=Collator(
                model,
                data.passages,
                settings.token_budget or usual_budget(model.device),
                with_pairs=settings.attention_weight > 0,
                padding=allowed_padding([model, *(teachers.frozen_models() if teachers else ())], settings),
                world=world,
            ),
            callbacks=[Events(self._observe)],
        )
        for unwanted in (PrinterCallback, ProgressCallback):
            self.trainer.remove_callback(unwanted)

    def _evaluator(self, dev: DevSample) -> DevEvaluator:
        settings = self.settings
        return DevEvaluator(dev, late=settings.needs_tokens, bf16=settings.precision == "bf16")

    def _observe(self, name: str, values: dict[str, Any]) -> None:
        if not self.world.speaks:
            return
        if name in ("log", "dev"):
            log.append(self.output, name, values)
        if name == "log":
            for advice in self.watch.heed(values):
                self.observer("advice", {"step": values["step"], "text": advice})
        if name == "dev" and f"eval_{self.metric}" in values:
            self._keep_best(values["step"], float(values[f"eval_{self.metric}"]))
        self.observer(name, values)

    def _keep_best(self, step: int, metric: float) -> None:
        if self.best["metric"] is not None and metric <= self.best["metric"]:
            return
        self.best = {"step": step, "metric": metric}
        with atomic_directory(self.output / "best") as folder:
            self.model.save(str(folder))
            sums = checksums(folder, leave_out=UNCHECKED)
            write_json(folder / BEST_FILE, self.best | {"sha256": sums})

    def train(self) -> TrainResult:
        """All steps that are left; then the last model and the result, written last."""
        checkpoint = self.world.first(self._find_checkpoint)
        step = int(checkpoint.name.split("-")[1]) if checkpoint else 0
        if checkpoint:
            self.tally.go_on_from(checkpoint)
        else:
            seed_rank(self.settings.seed, 0, self.world)
        if self.world.speaks:
            log.rewind(self.output, step)
            for callback in tensorboard_callbacks(self.output, step):
                self.trainer.add_callback(callback)
        try:
            self.observer("start", {"step": step, "steps": self.settings.steps})
            self.trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            return self.world.first(self._finish)
        finally:
            self.observer("end", {"step": self.trainer.state.global_step, "steps": self.settings.steps})

    def _find_checkpoint(self) -> Path | None:
        """Clear away what a kill left half written; the checkpoint to go on from, and the best so far.

        Raises:
            TrainingError: no checkpoint is whole, or the best model of the steps before it is not.
        """
        clear_leftovers(self.output)
        recover_directory(self.output / "best")
        checkpoint, damaged = latest_checkpoint(self.output)
        for one in damaged:
            self.observer("advice", {"text": f"{one}; going on from the checkpoint before it"})
        best, problem = _read_best(self.output / "best")
        if problem is None:
            self.best = best
        elif checkpoint and _measured(checkpoint, self.metric):
            # Measured before the checkpoint, so that the steps after it would not find it again.
            raise TrainingError(
                f"{self.output / 'best'}: {problem}, and the run cannot go on without the best model so far; "
                f"delete {self.output} and run the same command again to train from the start"
            )
        return checkpoint

    def _finish(self) -> TrainResult:
        with atomic_directory(self.output / "last") as folder:
            self.model.save(str(folder))
        with contextlib.suppress(OSError):
            (self.output / "eval").rmdir()  # made for evaluators that write files
        draw_curves(self.output)
        result = TrainResult(
            model=self.output / ("best" if self.best["metric"] is not None else "last"),
            last=self.output / "last",
            best_step=self.best["step"],
            best_metric=self.best["metric"],
            steps=self.settings.steps,
            seconds=round(self.tally.seconds, 2),
            truncated=self.tally.shares(),
            filled=self.filled,
        )
        write_result(self.output, result)
        return result


def _read_best(folder: Path) -> tuple[dict[str, Any], str | None]:
    """Step and metric of the best model, and what is missing or altered in its folder; ``None``: nothing."""
    if not (folder / BEST_FILE).is_file():
        return {}, f"{BEST_FILE} is missing"
    try:
        found = read_json(folder / BEST_FILE)
        best = {"step": int(found["step"]), "metric": float(found["metric"])}
        return best, altered(folder, dict(found["sha256"]))
    except (StorageError, KeyError, TypeError, ValueError):
        return {}, f"{BEST_FILE} is not readable"


def _measured(checkpoint: Path, metric: str) -> bool:
    """Whether dev was measured before the checkpoint."""
    state = read_json(checkpoint / "trainer_state.json")
    return any(f"eval_{metric}" in line for line in state["log_history"])
