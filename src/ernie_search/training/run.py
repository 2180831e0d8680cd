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

from ernie_search._util.files import (
    altered,
    atomic_directory,
    checksums,
    fingerprint,
    read_json,
    recover_directory,
    sha256_file,
    write_json,
)
from ernie_search._util.hardware import default_device, has_tf32
from ernie_search.data import Collection
from ernie_search.errors import SettingsError, StorageError, TrainingError
from ernie_search.mining.lists import Lists
from ernie_search.model import JointEncoder, ScoreSettings, from_base
from ernie_search.model.settings import SETTINGS_FILE
from ernie_search.training import log
from ernie_search.training.batches import Collator, StepBatches
from ernie_search.training.checkpoints import clear_leftovers, latest_checkpoint
from ernie_search.training.curves import draw_curves, tensorboard_callbacks
from ernie_search.training.folder import (
    RUN_FILE,
    UNCHECKED,
    TrainResult,
    claimed_precision,
    read_result,
    write_result,
)
from ernie_search.training.prepare import DevEvaluator, DevSample, TrainingData, prepare
from ernie_search.training.settings import TrainSettings
from ernie_search.training.step import JointLoss
from ernie_search.training.student import make_ready, usual_budget
from ernie_search.training.tally import EntropyWatch, Tally
from ernie_search.training.teachers import StepTeachers
from ernie_search.training.trainer import Events, JointTrainer, Observer, arguments
from ernie_search.training.world import World, one_for_all, seed_rank

BEST_FILE = "best.json"


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
        make_ready(model, settings)
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


LOOKED = 16
"""Questions whose attention is looked at before it teaches."""


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
    if data.filled:
        observer("filled", _filled(data, settings))
    if world.size > 1:
        shown = [(one.id, one.positives, one.negatives) for one in data.examples]
        world.agree({"training lists": fingerprint(shown)})
    set_seed(settings.seed)
    model = from_base(base, settings=_scores(settings, base), layers=layers, seed=settings.seed)
    settings = settings.model_copy(update={"precision": precision})
    teachers.fit(model, settings)
    if settings.attention_weight > 0 and world.speaks:
        looked = [
            (frozenset(one.positives), one.question, data.passages[one.positives[0]])
            for one in data.examples[:LOOKED]
        ]
        advice = teachers.attention_advice(model, looked)
        if advice:
            observer("advice", {"text": advice})
    run = Run(output, settings, model, data, observer, teachers, world)
    # Only now, as nothing was refused: bad input leaves no mark that the mended one would contradict.
    if world.speaks and not (output / RUN_FILE).is_file():
        write_json(output / RUN_FILE, identity | {"precision": precision})
    return run.train()


def _silent(event: str, values: dict[str, Any]) -> None:
    """The observer of whoever gives none, and of all ranks but one."""


def _filled(data: TrainingData, settings: TrainSettings) -> dict[str, int]:
    """How many of how many negatives are random ones, and the ranks that were to give them."""
    return {
        "filled": data.filled,
        "negatives": sum(len(one.negatives) for one in data.examples),
        "first": settings.negative_first,
        "last": settings.negative_last,
    }


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
