"""Training of the joint encoder in a folder: begun, resumed, or found finished, by the same call."""

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import accelerate
from sentence_transformers import SentenceTransformerTrainingArguments
from transformers import TrainerCallback, set_seed

from ernie_search._util.files import (
    altered,
    atomic_directory,
    checksums,
    fingerprint,
    read_json,
    recover_directory,
    remove,
    write_json,
)
from ernie_search._util.hardware import default_device, has_tf32
from ernie_search.data import Collection
from ernie_search.errors import SettingsError, StorageError, TrainingError
from ernie_search.losses import entropy_advice
from ernie_search.mining.lists import Lists
from ernie_search.model import JointEncoder, ScoreSettings, from_base, load_joint
from ernie_search.model.onnx import add_onnx
from ernie_search.model.pooling import word_weights
from ernie_search.runtime.places import joint_folder
from ernie_search.runtime.saved_files import list_also
from ernie_search.runtime.sidecar import ONNX_FOLDER
from ernie_search.training import log
from ernie_search.training.batches import Collator, StepBatches
from ernie_search.training.beginning import begin
from ernie_search.training.folder import (
    TrainResult,
    check_identity,
    checked,
    is_unchecked,
    library_versions,
    model_identity,
    read_result,
    write_identity,
    write_result,
)
from ernie_search.training.list_cache import ListCache, Refresh
from ernie_search.training.prepare import DevEvaluator, TrainingData, copies_advice, prepare
from ernie_search.training.settings import UNRELATED, TrainSettings
from ernie_search.training.step import JointLoss
from ernie_search.training.student import make_ready, usual_budget
from ernie_search.training.teachers import StepTeachers
from ernie_search.training.trackers import check_trackers
from ernie_search.training.trainer import (
    Events,
    FolderTraining,
    JointTrainer,
    Observer,
    StepCounts,
    steps_between_checkpoints,
    trainer_arguments,
)
from ernie_search.training.world import World, share_failures

BEST_FILE = "best.json"
ATTENTION_SAMPLE = 16
"""Questions on which the attention of a teacher is examined before the training."""


class JointTraining(FolderTraining[TrainResult]):
    """The training of one joint encoder, with checked settings; the best dev figure chooses its model."""

    panels = log.STUDENT_PANELS
    saved = "last"
    settings: TrainSettings
    trainer: JointTrainer

    def __init__(
        self,
        folder: Path,
        settings: TrainSettings,
        model: JointEncoder,
        data: TrainingData,
        observer: Observer,
        teachers: StepTeachers | None = None,
        world: World | None = None,
    ) -> None:
        super().__init__(folder, settings, observer, world)
        self.model = model
        make_ready(model, settings)
        model.attach_tokens = settings.needs_tokens
        self.counts = StepCounts(world=self.world)
        self.entropy_advice = EntropyAdvice(settings)
        self.filled, self.left_out = data.filled, data.left_out
        self.metric = "dense_mrr" if settings.trains_dense else "late_mrr"
        self.best: dict[str, Any] = {"step": 0, "metric": None}
        evaluator = None
        if data.dev is not None:
            bf16 = settings.precision == "bf16"
            evaluator = DevEvaluator(data.dev, late=settings.needs_tokens, bf16=bf16)
        batches = StepBatches(
            data.examples,
            steps=settings.steps,
            questions=settings.questions_per_batch,
            negatives=settings.negatives,
            seed=settings.seed,
            listed=settings.listed,
            contrastive=settings.contrastive,
        )
        callbacks: list[TrainerCallback] = [Events(self.observe)]
        self.lists: ListCache | None = None
        if settings.listed:
            self.lists = list_cache(model, batches, data, settings, self.world)
            callbacks.append(Refresh(self.lists, lambda values: self.observe("listed", values)))
        self.trainer = JointTrainer(
            model=model,
            args=arguments(
                folder,
                settings,
                on_cpu=model.device.type == "cpu",
                evaluates=data.dev is not None,
                weighted=word_weights(model) is not None,
            ),
            batches=batches,
            keep_checkpoints=settings.keep_checkpoints,
            loss=JointLoss(model, settings, teachers, self.world, self.lists),
            counts=self.counts,
            world=self.world,
            evaluator=evaluator,
            data_collator=Collator(
                model,
                data.passages,
                settings.token_budget or usual_budget(model.device),
                with_pairs=settings.attention_weight > 0,
                world=self.world,
            ),
            callbacks=callbacks,
        )

    def train(self) -> TrainResult:
        """Take the steps that are left; see :meth:`FolderTraining.train`."""
        if self.lists is not None and not self.settings.refresh_steps:
            # The model still has its first weights here, before those of a checkpoint are loaded.
            self.lists.fill(0)
            self.observe("listed", self.lists.facts())
        return super().train()

    def observe(self, name: str, values: dict[str, Any]) -> None:
        """Log losses and dev, keep the best model, and pass the event on; rank 0 alone does so."""
        if not self.world.is_main:
            return
        if name in ("log", "dev"):
            log.append(self.folder, name, values)
        if name == "log":
            for advice in self.entropy_advice.new(values):
                self.observer("advice", {"step": values["step"], "text": advice})
        if name == "dev" and f"eval_{self.metric}" in values:
            self._keep_best(values["step"], float(values[f"eval_{self.metric}"]))
        self.observer(name, values)

    def _keep_best(self, step: int, metric: float) -> None:
        if self.best["metric"] is not None and metric <= self.best["metric"]:
            return
        self.best = {"step": step, "metric": metric}
        with atomic_directory(self.folder / "best") as folder:
            self.save(folder)
            self._write_best(folder)

    def _write_best(self, folder: Path) -> None:
        sums = checksums(folder, leave_out=lambda name: name == BEST_FILE or is_unchecked(name))
        write_json(folder / BEST_FILE, self.best | {"sha256": sums})

    def find_checkpoint(self) -> Path | None:
        """The checkpoint to resume from; the best model before it is checked, too.

        Raises:
            TrainingError: no checkpoint is whole, or the best model of the steps before it is not.
        """
        checkpoint = super().find_checkpoint()
        recover_directory(self.folder / "best")
        best, problem = _read_best(self.folder / "best")
        if problem is None:
            self.best = best
        elif checkpoint and _measured(checkpoint, self.metric):
            # Measured before the checkpoint, so that the steps after it would not find it again.
            raise TrainingError(
                f"{self.folder / 'best'}: {problem}, and the training cannot resume without the best model "
                f"so far; delete {self.folder} and run the same command again to train from the start"
            )
        return checkpoint

    def resume(self, checkpoint: Path) -> None:
        """Read the teachers' leads, too."""
        super().resume(checkpoint)
        self.trainer.lead.read(checkpoint)

    def save(self, folder: Path) -> None:
        """Save the joint encoder."""
        self.model.save(str(folder))

    def add_graphs(self) -> None:
        """Write the ONNX graphs of ``last``, and of ``best`` where dev was measured."""
        if not self.settings.onnx:
            return
        last, best = self.folder / "last", self.folder / "best"
        # From the disk: the model in memory may be compiled, on a GPU, or under another attention.
        why = add_onnx(load_joint(last, device="cpu"), last)
        if self.best["metric"] is not None:
            with atomic_directory(best) as folder:  # whole: its files are checked by a resumed training
                shutil.copytree(best, folder, dirs_exist_ok=True)
                if self.best["step"] != self.settings.steps:
                    add_onnx(load_joint(folder, device="cpu"), folder)
                elif not why:  # the same weights
                    remove(folder / ONNX_FOLDER)  # of a call that was killed just after this
                    shutil.copytree(last / ONNX_FOLDER, folder / ONNX_FOLDER)
                    list_also(folder, ONNX_FOLDER)
                self._write_best(folder)
        if why:
            self.observer("advice", {"text": f"no ONNX graph beside the weights: {why}"})

    def write_result(self) -> TrainResult:
        """Write ``result.json``, which names the best model, or the last where dev was not measured."""
        result = TrainResult(
            model=self.folder / ("best" if self.best["metric"] is not None else "last"),
            last=self.folder / "last",
            best_step=self.best["step"],
            best_metric=self.best["metric"],
            steps=self.settings.steps,
            seconds=round(self.counts.seconds, 2),
            truncated=self.counts.truncated_shares(),
            filled=self.filled,
            left_out=self.left_out,
        )
        write_result(self.folder, result)
        return result


def list_cache(
    model: JointEncoder, batches: StepBatches, data: TrainingData, settings: TrainSettings, world: World
) -> ListCache:
    """The cache of a training's list passages, made anew every ``refresh_steps`` and at every checkpoint."""
    points = {0}
    if settings.refresh_steps:
        for every in (settings.refresh_steps, steps_between_checkpoints(settings)):
            points.update(range(0, settings.steps, every))
    return ListCache(
        model,
        batches,
        data.passages,
        points=sorted(points),
        tokens=settings.reads_listed_tokens,
        bf16=settings.precision == "bf16",
        world=world,
    )


def arguments(
    output: Path, settings: TrainSettings, *, on_cpu: bool, evaluates: bool, weighted: bool = False
) -> SentenceTransformerTrainingArguments:
    """The trainer's arguments; see :func:`~ernie_search.training.trainer.trainer_arguments`."""
    rates = {r"token_head": settings.head_learning_rate}
    if weighted:
        rates[r"emb_layer"] = settings.pooling_learning_rate
    return trainer_arguments(
        SentenceTransformerTrainingArguments,
        output,
        settings,
        bf16=settings.precision == "bf16",
        on_cpu=on_cpu,
        evaluates=evaluates,
        per_device_train_batch_size=settings.questions_per_batch,
        learning_rate_mapping=rates,
        tf32=True if settings.precision == "tf32" else None,  # None leaves torch as it is
        dataloader_pin_memory=not on_cpu,
        dataloader_drop_last=True,  # there is nothing to drop; otherwise several ranks are warned of it
        # Buffers are constants here, and a broadcast between a step's forwards would spoil its backward.
        ddp_broadcast_buffers=False,
    )


class EntropyAdvice:
    """Advice on teachers that are almost flat or one-hot, once per teacher and training."""

    def __init__(self, settings: TrainSettings) -> None:
        own = 1 + settings.negatives
        whole_list = own + settings.listed
        over = {"batch": settings.questions_per_batch * own, "own": own, "list": whole_list}
        self.waiting = {
            "teacher_entropy": (over[settings.distillation_candidates], "teacher_temperature"),
            "cross_entropy": (whole_list, "cross_temperature"),
        }

    def new(self, logged: Mapping[str, Any]) -> list[str]:
        """Advice that follows from what was logged: the entropy, and which setting to change, and how."""
        found = {
            name: entropy_advice(float(logged[name]), candidates, setting)
            for name, (candidates, setting) in self.waiting.items()
            if name in logged
        }
        given = {name: advice for name, advice in found.items() if advice}
        for name in given:
            del self.waiting[name]
        return list(given.values())


def _read_best(folder: Path) -> tuple[dict[str, Any], str | None]:
    """Step and metric of the best model, and what is missing or altered in its folder, if anything."""
    if not (folder / BEST_FILE).is_file():
        return {}, f"{BEST_FILE} is missing"
    try:
        found = read_json(folder / BEST_FILE)
        best = {"step": int(found["step"]), "metric": float(found["metric"])}
        return best, altered(folder, checked(dict(found["sha256"])))
    except (StorageError, KeyError, TypeError, ValueError):
        return {}, f"{BEST_FILE} is not readable"


def _measured(checkpoint: Path, metric: str) -> bool:
    """Whether dev was measured before the checkpoint."""
    state = read_json(checkpoint / "trainer_state.json")
    return any(f"eval_{metric}" in line for line in state["log_history"])


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
    """Train a joint encoder, or resume a training that the same call began.

    Started by ``torchrun`` or ``accelerate launch``, all processes share every step: the batch is the same
    whatever their number, and a training may be resumed with another number. They must share the folder.

    Args:
        collection: with a ``train`` split; a ``dev`` split chooses the best checkpoint.
        output: the training folder: checkpoints, ``best/``, ``last/``, ``log.jsonl``, ``result.json``.
        settings: what to train.
        base: hub name, directory, or the bundled base; a joint model's directory keeps its token head.
        layers: keep only the first so many layers of the base.
        data: what :func:`prepare` made of the same collection, settings and lists, to share it between
            trainings.
        lists: mined lists to train on in place of BM25's negatives, with scores where a term needs them.
        teachers: the cross-encoder whose attention teaches, or a frozen joint model.
        observer: called with every event, on rank 0.

    Raises:
        TrainingError: the folder holds another training; the loss is not finite; a batch has no negative;
            another process has other data or packages, or failed.
        SettingsError: a term has a weight and no teacher; fewer questions than processes.
        DataError, ModelError, StorageError: from reading the collection, the models and the folder.
    """
    settings.check()
    world = World.join(on_cpu=default_device() == "cpu")
    world.check(settings.questions_per_batch)
    with share_failures(output, world):
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
    """:func:`train` on one of the ranks of ``world``."""
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
        "settings": settings.model_dump(exclude=UNRELATED),
        "base": base,
        "base_weights": model_identity(base),
        "layers": layers,
        "collection": collection.fingerprint,
        "lists": lists.fingerprint if lists else None,
        "teachers": teachers.identity(settings),
        "versions": library_versions(),
    }
    packages = {"accelerate": accelerate.__version__, "ernie-search": version("ernie-search")}
    world.check_equal(identity | packages)
    precision = world.on_main(lambda: check_identity(output, identity, settings.precision))
    finished = world.on_main(lambda: read_result(output))
    if finished is not None:
        return finished
    if observer is None or not world.is_main:
        observer = ignore_event
    world.on_main(lambda: check_trackers(settings.report_to))
    observer("prepare", {"lists": lists is not None})
    if data is None:
        data = prepare(collection, settings, lists)
    if data.filled:
        negatives = sum(len(one.negatives) for one in data.examples)
        ranks = {"first": settings.negative_first, "last": settings.negative_last}
        observer("filled", {"filled": data.filled, "negatives": negatives, **ranks})
    if advice := copies_advice(data, settings):
        observer("advice", {"text": advice})
    if world.size > 1:
        shown = [(one.id, one.positives, one.negatives, one.kept) for one in data.examples]
        world.check_equal({"training lists": fingerprint(shown)})
    set_seed(settings.seed)
    model = from_base(base, settings=_score_settings(settings, base), layers=layers, seed=settings.seed)
    begin(model, collection, settings, fresh=joint_folder(base) is None)
    settings = settings.model_copy(update={"precision": precision})
    teachers.fit(model, settings)
    if model.score_settings.similarity == "dot" and (advice := settings.dot_product_advice()):
        observer("advice", {"text": advice})
    if settings.attention_weight > 0 and world.is_main:
        sample = [
            (frozenset(one.positives), one.question, data.passages[one.positives[0]])
            for one in data.examples[:ATTENTION_SAMPLE]
        ]
        advice = teachers.attention_advice(model, sample)
        if advice:
            observer("advice", {"text": advice})
    training = JointTraining(output, settings, model, data, observer, teachers, world)
    if world.is_main:
        write_identity(output, identity, precision)
    return training.train()


def ignore_event(event: str, values: dict[str, Any]) -> None:
    """Do nothing: the observer where none is given, and on all ranks but the main one."""


def _score_settings(settings: TrainSettings, base: str) -> ScoreSettings:
    """How the trained model will be scored; a joint model keeps its prompts, width and origin."""
    saved = joint_folder(base)
    before = ScoreSettings() if saved is None else ScoreSettings.read(saved)
    return before.model_copy(
        update={
            "query_length": settings.query_length,
            "passage_length": settings.passage_length,
            "dense_temperature": settings.dense_temperature,
            "late_temperature": settings.late_temperature,
        }
    )
