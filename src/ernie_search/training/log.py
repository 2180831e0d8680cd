"""``log.jsonl`` of a run: a line an event, each step once however often the run was interrupted."""

import json
from pathlib import Path
from typing import Any

from ernie_search._util.files import atomic_write, storage_errors

LOG_FILE = "log.jsonl"


def append(folder: Path, event: str, values: dict[str, Any]) -> None:
    """Add a line."""
    path = folder / LOG_FILE
    with storage_errors(path), open(path, "a", encoding="utf-8") as handle:
        handle.write(json.dumps({"event": event, **values}, ensure_ascii=False) + "\n")


def rewind(folder: Path, step: int) -> None:
    """Drop the lines after ``step``, which will be written again, and one that a kill left half written."""
    path = folder / LOG_FILE
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and _step(line) <= step]
    if kept != lines:
        with atomic_write(path) as handle:
            handle.writelines(kept)


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
