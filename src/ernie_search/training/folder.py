"""The folder of a training: what is trained there, its checkpoints, and the result."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import sentence_transformers
import torch
import transformers

from ernie_search._util.files import (
    altered,
    checksums,
    fingerprint,
    fsync_directory,
    read_json,
    remembered_sha256,
    remove,
    sync_tree,
    write_json,
)
from ernie_search._util.hardware import default_device, prefers_bf16
from ernie_search._util.settings import read_record
from ernie_search.errors import StorageError, TrainingError
from ernie_search.runtime.saved_files import FILES_FILE
from ernie_search.runtime.settings import SETTINGS_FILE
from ernie_search.runtime.sidecar import ONNX_FOLDER
from ernie_search.training.log import LOG_FILE

Noted = TypeVar("Noted")

TRAINING_FILE = "training.json"
"""What is trained in a folder: everything that would lead to other weights, and the precision."""
RESULT_FILE = "result.json"
UNCHECKED = ("README.md", FILES_FILE)
"""Files of a saved model that may change after its training: its card, and the list of its files."""
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
READ = {
    *("config.json", "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", SETTINGS_FILE),
}
"""Files of a model that decide, beside its weights, what it makes of a text."""
HEX = re.compile("[0-9a-f]+")
BESIDE = ("checkpoint-", ONNX_FOLDER, ".")
"""Folders that lie in a model's, and are none of it."""
STAGING = ".staging"
"""Where a checkpoint is written before it gets its name."""
CHECKPOINT_FILE = "checkpoint.json"
"""A checkpoint's manifest: SHA-256 of every other file. Not ``manifest.json``: a saved model may have one."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a training ended.

    Attributes:
        model: directory of the best checkpoint's model (of the last, without a dev split).
        last: directory of the last step's model.
        best_step, best_metric: where dev was highest, and how high; 0 and ``None`` without dev.
        steps, seconds: done in all, and taken by the calls that did them (without what a kill undid).
        truncated: share of the questions ("query") and passages ("passage") of all steps that were longer
            than the model reads.
        filled: negatives drawn at random because BM25 found too few in its ranks.
        left_out: passages in BM25's ranks that are relevant in ``leave_out_splits``, so no negatives.
    """

    model: Path
    last: Path
    best_step: int
    best_metric: float | None
    steps: int
    seconds: float
    truncated: dict[str, float]
    filled: int
    left_out: int = 0


def is_unchecked(name: str) -> bool:
    """Whether a file of a finished training may change: what ``export --onnx`` writes, and a card.

    Args:
        name: its path in the folder. The graphs have checks of their own, in their sidecar.
    """
    path = PurePosixPath(name)
    return path.name in UNCHECKED or ONNX_FOLDER in path.parts[:-1]


def checked(files: Mapping[str, Noted]) -> dict[str, Noted]:
    """What is noted of the files that may not; earlier versions noted graphs, too."""
    return {name: one for name, one in files.items() if not is_unchecked(name)}


def library_versions() -> dict[str, str]:
    """Versions of the libraries that could give other weights, by name."""
    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "sentence_transformers": sentence_transformers.__version__,
    }


def model_identity(model: str) -> str:
    """A fingerprint of a model's directory, wherever it lies: weights, a dash, how it reads and pools.

    Of a folder of teachers it is that of all of them. What a training leaves beside a model, such as
    checkpoints, graphs and the card, is no part of it; a hub name stands for itself.
    """
    folder = Path(model)
    files = [
        path
        for path in (sorted(folder.rglob("*")) if folder.is_dir() else ())
        if not any(one.startswith(BESIDE) for one in path.relative_to(folder).parts[:-1])
    ]
    weights = [path for path in files if any(fnmatch(path.name, one) for one in WEIGHTS)]
    if not weights:
        return model
    read = [path for path in files if path.name in READ or path.suffix == ".model"]
    digests = [[path.relative_to(folder).as_posix(), remembered_sha256(path)] for path in read]
    return f"{fingerprint([remembered_sha256(path) for path in weights])}-{fingerprint(digests)}"


def same_model(before: Any, now: Any) -> bool:
    """Whether two identities are of one model; earlier versions noted that of the weights alone."""
    weights, dash, _ = str(now).rpartition("-")
    return bool(before == now or (dash and before == weights and HEX.fullmatch(weights)))


def check_identity(output: Path, identity: dict[str, Any], precision: str) -> str:
    """Check that a folder holds this training or none, and return the precision to train in.

    A training that began keeps its precision: ``auto`` is a measurement, which may come out differently the
    next time.

    Args:
        output: the training folder.
        identity: everything that would lead to other weights, as plain values.
        precision: as asked for: ``auto``, ``bf16``, ``fp32`` or ``tf32``.

    Raises:
        TrainingError: the folder holds another training, or models without a ``training.json``.
        StorageError: it is a file, or its ``training.json`` is not readable.
    """
    if output.exists() and not output.is_dir():
        raise StorageError(f"{output}: is a file; choose a folder for the training")
    path = output / TRAINING_FILE
    if path.is_file():
        before = read_json(path)
        if not isinstance(before, dict) or "precision" not in before:
            raise StorageError(f"{path}: does not say what is trained here; choose another output folder")
        begun_in = str(before.pop("precision"))
        if not _same_training(before, identity):
            raise TrainingError(
                f"{output}: holds another training ({_differences(before, identity)}); "
                "choose another output folder or delete this one"
            )
        return begun_in
    for name in ("best", "last", RESULT_FILE, LOG_FILE):
        if (output / name).exists():
            raise TrainingError(
                f"{output}: has {name} but no {TRAINING_FILE}, so it is not a training folder of ours; "
                "choose another output folder"
            )
    if precision == "auto":
        return "bf16" if prefers_bf16(default_device()) else "fp32"
    return precision


def _same_training(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two identities would lead to the same weights."""
    if not same_model(before.get("base_weights"), now.get("base_weights")):
        return False
    left_out = {"base_weights"}
    if before.get("base_weights") != before.get("base"):
        left_out.add("base")  # of a directory, which may have moved, or be named from elsewhere
    one, other = (
        {name: value for name, value in given.items() if name not in left_out} for given in (before, now)
    )
    return fingerprint(one) == fingerprint(other)


def write_identity(output: Path, identity: dict[str, Any], precision: str) -> None:
    """Write ``training.json``, unless it is there.

    Call it once nothing can be refused any more: bad input must not leave a file that the corrected one
    would contradict.
    """
    if not (output / TRAINING_FILE).is_file():
        write_json(output / TRAINING_FILE, identity | {"precision": precision})


def _differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What differs from the training in the folder: ``steps 100, now 200; ...``."""
    parts = []
    for name, value in now.items():
        old = before.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            keys = sorted(key for key in value.keys() | old.keys() if value.get(key) != old.get(key))
            parts += [f"{key} {old.get(key)}, now {value.get(key)}" for key in keys]
        elif old != value:
            parts.append(f"{name} {old}, now {value}")
    return "; ".join(parts)


def read_result(output: Path) -> TrainResult | None:
    """The result of a finished training whose models are there, unaltered; ``None`` otherwise.

    Raises:
        StorageError: ``result.json`` is not readable as one.
    """
    path = output / RESULT_FILE
    if not path.is_file():
        return None
    found = read_json(path)
    try:
        sums = dict(found.pop("sha256"))
        result = read_record(TrainResult, found)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StorageError(
            f"{path}: not readable as the result of a training ({error}); delete the file and train again"
        ) from error
    result = replace(result, model=output / result.model, last=output / result.last)
    if not (result.model.is_dir() and result.last.is_dir()) or altered(output, checked(sums)) is not None:
        return None
    return result


def write_result(output: Path, result: TrainResult) -> None:
    """Write ``result.json``, which marks the training as finished; the folder may be moved afterwards."""
    names = {"model": result.model.name, "last": result.last.name}
    sums = {
        f"{name}/{file}": digest
        for name in sorted(set(names.values()))
        for file, digest in checksums(output / name, leave_out=is_unchecked).items()
    }
    write_json(output / RESULT_FILE, asdict(result) | names | {"sha256": sums})


def damage(checkpoint: Path) -> str | None:
    """What is missing or altered in a checkpoint, compared with its manifest; ``None`` if it is whole.

    Every file is read: one altered file could silently change the model that comes out.
    """
    if not (checkpoint / CHECKPOINT_FILE).is_file():
        return f"{CHECKPOINT_FILE} is missing"
    try:
        sums = read_json(checkpoint / CHECKPOINT_FILE)
    except StorageError:
        return f"{CHECKPOINT_FILE} is not readable"
    if not isinstance(sums, dict) or not sums or not all(isinstance(one, str) for one in sums.values()):
        return f"{CHECKPOINT_FILE} holds no checksums"
    return altered(checkpoint, sums)


def checkpoint_steps(folder: Path) -> dict[int, Path]:
    """Whole checkpoints below ``folder``, by step."""
    return {step: path for step, path in _named(folder).items() if damage(path) is None}


def latest_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """The whole checkpoint with the highest step, and one line for each damaged checkpoint above it.

    Returns:
        ``(None, [])`` where there is no checkpoint.

    Raises:
        TrainingError: there are checkpoints, and none is whole.
    """
    damaged: list[str] = []
    for path in _newest_first(folder):
        problem = damage(path)
        if problem is None:
            return path, damaged
        damaged.append(f"{path} cannot be resumed ({problem})")
    if damaged:
        raise TrainingError(
            f"{damaged[0]}, and no checkpoint before it is whole; delete {folder} and run the same command "
            "again to train from the start"
        )
    return None, []


def publish(staging: Path, folder: Path, keep: int) -> None:
    """Move the checkpoint in ``staging`` to its name in ``folder``, durably; then remove the oldest ones.

    A kill before the rename leaves the former checkpoint, one after it the new one, and never half of either.

    Args:
        staging: holds a folder ``checkpoint-STEP``; it is gone afterwards.
        folder: the training folder.
        keep: how many checkpoints stay. Half-deleted ones are removed, and later ones, too: the training was
            resumed from before them, so they were damaged.
    """
    kept: list[Path] = []
    for fresh in staging.glob("checkpoint-*"):
        write_json(fresh / CHECKPOINT_FILE, checksums(fresh))
        sync_tree(fresh)
        target = folder / fresh.name
        remove(target)
        os.rename(fresh, target)
        newest = list(_newest_first(folder))
        kept = newest[newest.index(target) :][:keep]
    fsync_directory(folder)
    shutil.rmtree(staging, ignore_errors=True)
    for path in _named(folder).values():
        if path not in kept:
            remove(path)


def clear_leftovers(folder: Path) -> None:
    """Remove the unfinished files that a kill left behind."""
    for path in (folder / STAGING, *folder.glob(".*.tmp")):
        remove(path)


def _named(folder: Path) -> dict[int, Path]:
    """Everything below ``folder`` with the name of a checkpoint, whole or not, by step."""
    matches = {path: re.fullmatch(r"checkpoint-(\d+)", path.name) for path in folder.glob("checkpoint-*")}
    return {int(match[1]): path for path, match in matches.items() if match}


def _newest_first(folder: Path) -> Iterator[Path]:
    named = _named(folder)
    return (named[step] for step in sorted(named, reverse=True))
