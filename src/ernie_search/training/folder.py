"""What the folder of a run says of it: which run it is, and how it ended."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ernie_search._util.files import altered, checksums, fingerprint, read_json, write_json
from ernie_search._util.hardware import default_device, prefers_bf16
from ernie_search._util.settings import read_record
from ernie_search.errors import StorageError, TrainingError
from ernie_search.training.log import LOG_FILE

RUN_FILE = "run.json"
RESULT_FILE = "result.json"
UNCHECKED = ("README.md",)
"""Files of a model that people may edit: its card."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run ended with.

    Attributes:
        model: directory of the best checkpoint's model (of the last, without a dev split).
        last: directory of the last step's model.
        best_step, best_metric: where dev was highest, and how high; 0 and ``None`` without dev.
        steps, seconds: done in all, and taken by the calls that did them (without what a kill undid).
        truncated: share of the questions ("query") and passages ("passage") of all steps that were longer
            than the model reads.
        filled: negatives that BM25 did not find in its ranks, so that random passages stand in for them.
    """

    model: Path
    last: Path
    best_step: int
    best_metric: float | None
    steps: int
    seconds: float
    truncated: dict[str, float]
    filled: int = 0  # runs that are older have none


def claimed_precision(
    output: Path, identity: dict[str, Any], asked: str, defaults: dict[str, Any] | None = None
) -> str:
    """The precision to train in: the one that the run in this folder began with, if there is one.

    ``auto`` is decided by a measurement, which may come out otherwise next time: so it is decided once.

    Args:
        output: folder of the run.
        identity: everything that makes a run another run, as plain values.
        asked: ``auto``, ``bf16`` or ``fp32``.
        defaults: of the settings in ``identity``.

    Raises:
        TrainingError: the folder holds another run, or models that are of no run.
        StorageError: it is a file.
    """
    if output.exists() and not output.is_dir():
        raise StorageError(f"{output}: is a file; choose a folder for the run")
    mark = output / RUN_FILE
    if mark.is_file():
        before = read_json(mark)
        if not isinstance(before, dict) or not isinstance(before.get("settings", {}), dict):
            raise StorageError(f"{mark}: does not say which run this is; choose another output folder")
        precision = str(before.pop("precision", asked))
        # A setting that is younger than the run had its default's effect then.
        before["settings"] = (defaults or {}) | before.get("settings", {})
        if fingerprint(before) != fingerprint(identity):
            raise TrainingError(
                f"{output}: holds another run ({_differences(before, identity)}); "
                "choose another output folder or delete this one"
            )
        return precision
    for name in ("best", "last", RESULT_FILE, LOG_FILE):
        if (output / name).exists():
            raise TrainingError(
                f"{output}: has {name} but no {RUN_FILE}, so it is no run of ours; "
                "choose another output folder"
            )
    if asked == "auto":
        return "bf16" if prefers_bf16(default_device()) else "fp32"
    return asked


def _differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What another run was asked otherwise: ``steps 100, now 200; ...``."""
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
    """The result of a finished run whose models are still there, as they were written.

    Raises:
        StorageError: ``result.json`` is not readable as one.
    """
    path = output / RESULT_FILE
    if not path.is_file():
        return None
    found = read_json(path)
    try:
        sums = dict(found.pop("sha256", {}))  # runs that are older have none
        result = read_record(TrainResult, found)
    except (AttributeError, TypeError, ValueError) as error:
        raise StorageError(
            f"{path}: not readable as the result of a run ({error}); delete the file and run again"
        ) from error
    result = replace(result, model=output / result.model, last=output / result.last)
    if not (result.model.is_dir() and result.last.is_dir()) or altered(output, sums) is not None:
        return None
    return result


def write_result(output: Path, result: TrainResult) -> None:
    """Say that the run is finished; directories by their names, so that the folder can be moved."""
    names = {"model": result.model.name, "last": result.last.name}
    sums = {
        f"{name}/{file}": digest
        for name in sorted(set(names.values()))
        for file, digest in checksums(output / name, leave_out=UNCHECKED).items()
    }
    write_json(output / RESULT_FILE, asdict(result) | names | {"sha256": sums})
