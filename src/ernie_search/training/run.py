"""One training run in one folder: started, gone on with, or found done, by the same call."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

import accelerate
import sentence_transformers
import torch
import transformers
from transformers import set_seed

from ernie_search.data import Collection
from ernie_search.errors import SettingsError
from ernie_search.files import fingerprint, sha256_file, write_json
from ernie_search.hardware import default_device, has_tf32
from ernie_search.mining.lists import Lists
from ernie_search.model import ScoreSettings, from_base
from ernie_search.model.settings import SETTINGS_FILE
from ernie_search.training.failure import one_for_all
from ernie_search.training.folder import RUN_FILE, TrainResult, claimed_precision, read_result
from ernie_search.training.one_run import Run
from ernie_search.training.prepare import TrainingData, prepare
from ernie_search.training.settings import TrainSettings
from ernie_search.training.teachers import StepTeachers
from ernie_search.training.trainer import Observer
from ernie_search.training.world import World

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
