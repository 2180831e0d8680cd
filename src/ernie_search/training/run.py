"""One training run in one folder: started, gone on with, or found done, by the same call."""

import contextlib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import accelerate
import sentence_transformers
import torch
import transformers
from transformers import PrinterCallback, set_seed
from transformers.trainer_callback import ProgressCallback

from ernie_search.data import Collection
from ernie_search.errors import SettingsError
from ernie_search.files import (
    atomic_directory,
    fingerprint,
    read_json,
    recover_directory,
    sha256_file,
    write_json,
)
from ernie_search.hardware import default_device, has_tf32
from ernie_search.mining.lists import Lists
from ernie_search.model import JointEncoder, ScoreSettings, from_base
from ernie_search.model.settings import SETTINGS_FILE
from ernie_search.process_memory import keep_freed_memory
from ernie_search.training import log
from ernie_search.training.arguments import arguments
from ernie_search.training.batches import StepBatches
from ernie_search.training.checkpoints import clear_leftovers, latest_checkpoint
from ernie_search.training.collate import Collator
from ernie_search.training.curves import draw_curves
from ernie_search.training.dev import DevEvaluator, DevSample
from ernie_search.training.failure import one_for_all
from ernie_search.training.folder import (
    RUN_FILE,
    TrainResult,
    claimed_precision,
    read_result,
    write_result,
)
from ernie_search.training.prepare import TrainingData, prepare
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


def train(
    collection: Collection,
    output: Path,
    settings: TrainSettings,
    *,
    base: str,
    layers: int | None = None,
    data: TrainingData | None = None,
    lists: Lists | None = None,
    teachers: StepTeachers | None = None,
    observer: Observer | None = None,
) -> TrainResult:
    """Train a joint encoder, or go on where the same call stopped.

    Started by ``torchrun`` or ``accelerate launch``, all processes share every step: the batch is the same,
    whatever their number, and a run goes on with another number of them. They must share the output folder.

    Args:
        collection: with a ``train`` split; a ``dev`` split chooses the best checkpoint.
        output: folder of the run: checkpoints, ``best/``, ``last/``, ``log.jsonl``, ``result.json``.
        settings: what to train.
        base: hub name, directory, or the bundled base; a joint model's directory keeps its token head.
        layers: keep only the first so many layers of the base.
        data: what :func:`prepare` made of the same collection, settings and lists, to share it between runs.
        lists: mined lists to train on in place of BM25's negatives, with scores where a term needs them.
        teachers: the cross-encoder whose attention teaches, or a frozen joint model.
        observer: told of every event, on rank 0.

    Raises:
        TrainingError: the folder holds another run; the loss is no number; a batch has no negative; another
            process has other data or packages, or failed.
        SettingsError: a term has a weight and no teacher; fewer questions than processes.
        DataError, ModelError, StorageError: see there.
    """
    settings.check()
    world = World.join(on_cpu=default_device() == "cpu")
    world.check(settings.questions_per_batch)
    with one_for_all(output, world):
        return _train(collection, output, settings, base, layers, data, lists, teachers, observer, world)


def _train(
    collection: Collection,
    output: Path,
    settings: TrainSettings,
    base: str,
    layers: int | None,
    data: TrainingData | None,
    lists: Lists | None,
    teachers: StepTeachers | None,
    observer: Observer | None,
    world: World,
) -> TrainResult:
    """:func:`train`, on one of the ranks of ``world``."""
    teachers = teachers or StepTeachers()
    teachers.check(settings)
    if settings.cross_terms and not (lists and lists.scored):
        raise SettingsError(
            f"{settings.cross_terms[0]}_weight is above 0 and the lists have no teacher's scores; "
            "score them first, or set it to 0"
        )
    if settings.precision == "tf32" and not has_tf32():
        raise SettingsError(
            "precision=tf32 needs an NVIDIA GPU of the Ampere generation or later, and there is none here; "
            "set precision to auto or fp32"
        )
    identity = {
        "settings": settings.model_dump(),
        "base": base,
        "base_weights": _weights(base),
        "layers": layers,
        "collection": collection.fingerprint,
        "lists": lists.fingerprint if lists else None,
        "teachers": teachers.identity(settings),
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "sentence_transformers": sentence_transformers.__version__,
        },
    }
    world.agree(identity | {"accelerate": accelerate.__version__, "ernie-search": version("ernie-search")})
    defaults = TrainSettings().model_dump()
    precision = world.first(lambda: claimed_precision(output, identity, settings.precision, defaults))
    finished = world.first(lambda: read_result(output))
    if finished is not None:
        return finished
    if observer is None or not world.speaks:
        observer = _silent
    observer("prepare", {"lists": lists is not None})
    if data is None:
        data = prepare(collection, settings, lists)
    if world.size > 1:
        shown = [(one.id, one.positives, one.negatives) for one in data.examples]
        world.agree({"training lists": fingerprint(shown)})
    set_seed(settings.seed)
    model = from_base(base, settings=_scores(settings, base), layers=layers, seed=settings.seed)
    teachers.fit(model, settings)
    settings = settings.model_copy(update={"precision": precision})
    run = _Run(output, settings, model, data, observer, teachers, world)
    # Only now, as nothing was refused: bad input leaves no mark that the mended one would contradict.
    if world.speaks and not (output / RUN_FILE).is_file():
        write_json(output / RUN_FILE, identity | {"precision": precision})
    return run.train()


def _silent(event: str, values: dict[str, Any]) -> None:
    """The observer of whoever gives none, and of all ranks but one."""


def _weights(base: str) -> str | None:
    """What is in a base's directory, which could be trained anew under the same name; of a hub name, none."""
    files = sorted(Path(base).rglob("*.safetensors")) if Path(base).is_dir() else []
    return fingerprint([sha256_file(path) for path in files]) if files else None


def _scores(settings: TrainSettings, base: str) -> ScoreSettings:
    """How the trained model will be scored; prompts, width and origin of a joint model stay its own."""
    folder = Path(base)
    before = ScoreSettings.read(folder) if (folder / SETTINGS_FILE).is_file() else ScoreSettings()
    return before.model_copy(
        update={
            "query_length": settings.query_length,
            "passage_length": settings.passage_length,
            "dense_temperature": settings.dense_temperature,
            "late_temperature": settings.late_temperature,
        }
    )


class _Run:
    """The parts of one run, put together."""

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
        make_ready(model, settings)
        # With gradient caching memory is what counts: what a micro-batch takes goes back to the system.
        keep_freed_memory(CACHED_LARGEST if settings.gradient_cache else 1 << 30)
        model.attach_tokens = settings.needs_tokens
        self.tally = Tally(world=world)
        self.watch = EntropyWatch(settings)
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
            write_json(folder / BEST_FILE, self.best)

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
        """Clear away what a kill left half written; the checkpoint to go on from, and the best so far."""
        clear_leftovers(self.output)
        recover_directory(self.output / "best")
        if (self.output / "best" / BEST_FILE).is_file():
            self.best = read_json(self.output / "best" / BEST_FILE)
        return latest_checkpoint(self.output)

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
        )
        write_result(self.output, result)
        return result
