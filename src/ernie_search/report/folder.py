"""Reads a training or pipeline folder: its stages, their settings, versions and fingerprints, and their logs.

Read from the files alone (``docs/formats.md``), so that a report needs neither the model nor the data, and
can be made on another machine than the training.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ernie_search._util.files import read_json
from ernie_search.errors import DataError

LOG, TRAINING, RESULT, STAGE, TABLE = "log.jsonl", "training.json", "result.json", "stage.json", "table.json"
PARTS = ("shared", "rows", "shards", "best", "last", "model")
"""Folders that are not stages themselves."""

Plain = dict[str, Any]


@dataclass(slots=True)
class StageRecord:
    """The record of one stage, or of one training.

    Attributes:
        name: as the folder has it; ``teacher / teacher-0`` for a training inside a stage.
        kind: of the stage, "" for a training without a manifest.
        done: whether it was finished.
        seconds: that it took; ``None`` where that is not known.
        peak_bytes: of memory, where it was recorded.
        seed: of the stage.
        counts, settings, inputs, versions: as recorded.
        best_step, best_metric: of a training watched on dev.
        truncated: share of questions ("query") and passages ("passage") that were cut.
        curves: name -> (step, value), from the log.
    """

    name: str
    kind: str = ""
    done: bool = False
    seconds: float | None = None
    peak_bytes: float | None = None
    seed: int | None = None
    counts: Plain = field(default_factory=dict)
    settings: Plain = field(default_factory=dict)
    inputs: Plain = field(default_factory=dict)
    versions: Plain = field(default_factory=dict)
    best_step: int | None = None
    best_metric: float | None = None
    truncated: Plain = field(default_factory=dict)
    curves: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


def is_ablation(folder: Path) -> bool:
    """Whether the folder is one that ``ablate`` made."""
    return (folder / TABLE).is_file()


def read_folder(folder: Path) -> list[StageRecord]:
    """The stages of a training or pipeline folder, in the order in which they were made.

    Raises:
        DataError: there is no such folder, or no training in it.
        StorageError: a file in it is not JSON.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the --output of a training")
    found = list(_records(folder, ""))
    if not found:
        raise DataError(
            f"{folder}: holds no training ({TRAINING}, {STAGE} or {LOG}); give the --output of a training"
        )
    return found


def _records(folder: Path, name: str) -> Iterator[StageRecord]:
    if _is_stage(folder) or (not name and (folder / TRAINING).is_file()):
        yield read_stage(folder, name or folder.name)
    inside = [
        one
        for one in folder.iterdir()
        if one.is_dir() and one.name not in PARTS and not one.name.startswith(".")
    ]
    for one in sorted(inside, key=lambda path: (_made(path), path.name)):
        if not one.name.startswith("checkpoint-"):
            # "teacher/teachers/teacher-0" is called "teacher / teacher-0"
            yield from _records(one, f"{name} / {one.name}" if name and _is_stage(one) else name or one.name)


def _is_stage(folder: Path) -> bool:
    """Whether the folder is one stage; a folder of several trainings has a ``training.json``, too."""
    return any((folder / one).is_file() for one in (STAGE, RESULT, LOG))


def _made(folder: Path) -> float:
    """When the stage was finished; the log's age where it was not; stages without either come last."""
    for name in (STAGE, RESULT, LOG):
        if (folder / name).is_file():
            return (folder / name).stat().st_mtime
    return float("inf")


def read_stage(folder: Path, name: str) -> StageRecord:
    """The record of a folder with a log or a manifest."""
    record = StageRecord(name)
    if (folder / TRAINING).is_file():
        training = _mapping(folder / TRAINING)
        record.settings = _plain(training.get("settings"))
        record.versions = _plain(training.get("versions"))
        shown = ("base", "base_weights", "layers", "collection", "lists", "precision")
        record.inputs = {key: training[key] for key in shown if training.get(key) is not None}
        record.seed = record.settings.get("seed")
    if (folder / RESULT).is_file():
        result = _mapping(folder / RESULT)
        record.done = True
        record.seconds = _number(result.get("seconds"))
        record.best_metric = _number(result.get("best_metric"))
        step = result.get("best_step")
        record.best_step = step if isinstance(step, int) and record.best_metric is not None else None
        record.truncated = _plain(result.get("truncated"))
        record.counts = {name: result[name] for name in ("steps", "filled", "left_out") if result.get(name)}
        record.peak_bytes = _number(result.get("peak_bytes"))
    if (folder / STAGE).is_file():
        stage = _mapping(folder / STAGE)
        record.done, record.kind = True, str(stage.get("kind", ""))
        record.seconds, record.seed = _number(stage.get("seconds")), stage.get("seed")
        record.settings = _plain(stage.get("settings")) or record.settings
        record.versions = _plain(stage.get("versions")) or record.versions
        record.inputs = {**record.inputs, **_plain(stage.get("inputs"))}
        record.counts = _plain(stage.get("counts"))
        record.truncated = _plain(record.counts.get("truncated")) or record.truncated
        record.peak_bytes = _number(record.counts.get("peak_bytes", record.peak_bytes))
    record.truncated = {task: share for task, share in record.truncated.items() if _number(share) is not None}
    if _number(record.counts.get("steps")) is None:
        record.counts = {name: value for name, value in record.counts.items() if name != "steps"}
    record.curves = read_curves(folder / LOG)
    return record


def read_curves(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Everything numeric that was logged, by name, over the steps, but for lines that a kill cut."""
    curves: dict[str, list[tuple[float, float]]] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for line in lines:
        try:
            event = json.loads(line)
            step = float(event["step"])
        except (ValueError, KeyError, TypeError):
            continue
        for name, value in event.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and name != "step":
                curves.setdefault(name, []).append((step, float(value)))
    return curves


def _mapping(path: Path) -> Plain:
    found = read_json(path)
    if not isinstance(found, dict):
        raise DataError(f"{path}: not a JSON object, so not of a training; delete it or give another folder")
    return found


def _number(value: Any) -> float | None:
    """A number as it is, and None for whatever else stands in its place."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _plain(value: Any) -> Plain:
    return value if isinstance(value, dict) else {}
