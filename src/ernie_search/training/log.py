"""The log of a training, ``log.jsonl``, with each step once even after interruptions, and its curves."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from transformers import TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback

from ernie_search._util.files import atomic_write, storage_errors

LOG_FILE = "log.jsonl"


def append(folder: Path, event: str, values: dict[str, Any]) -> None:
    """Add one event to ``log.jsonl``."""
    path = folder / LOG_FILE
    with storage_errors(path), open(path, "a", encoding="utf-8") as handle:
        handle.write(json.dumps({"event": event, **values}, ensure_ascii=False) + "\n")


def rewind(folder: Path, step: int) -> None:
    """Remove the lines after ``step``, which will be written again, and a half-written last one."""
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


CURVES_FILE = "curves.png"
MARGINS = {"left": 0.06, "right": 0.985, "top": 0.95, "bottom": 0.085, "hspace": 0.14, "wspace": 0.13}
"""Of the panels, in shares of the picture; to compute them would draw it twice."""
Panels = Sequence[tuple[str, str]]
"""For each of four panels: its title, and a part of the names of its curves."""
STUDENT_PANELS: Panels = (
    ("loss terms, unweighted", "raw_"),
    ("teacher's entropy, nats", "_entropy"),
    ("norm of the gradient", "grad_norm"),
    ("dev sample, MRR@10", "eval_"),
)


def draw_curves(folder: Path, panels: Panels = STUDENT_PANELS) -> Path | None:
    """Draw a training's ``log.jsonl`` into ``curves.png`` beside it.

    Args:
        folder: the training folder.
        panels: what is drawn.

    Returns:
        The picture's path; ``None`` where nothing was logged.

    Raises:
        StorageError: the disk refused.
    """
    curves = read_curves(folder, panels)
    if not curves:
        return None
    figure = Figure(figsize=(11, 7))
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, 2, sharex=True, gridspec_kw=MARGINS)
    for axes, (title, sign) in zip(grid.flat, panels, strict=True):
        shown = {name: points for name, points in curves.items() if sign in name}
        axes.set_title(title, loc="left", fontsize=10)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        for name, points in shown.items():
            steps, values = zip(*points, strict=True)
            axes.plot(steps, values, label=label(name), marker="o" if len(points) < 12 else "", markersize=3)
        if len(shown) > 1 or (shown and sign == "eval_"):
            axes.legend(fontsize=8, frameon=False)
        if not shown:
            axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes, color="grey")
    figure.supxlabel("step", fontsize=10)
    path = folder / CURVES_FILE
    with atomic_write(path, "wb") as handle:
        figure.savefig(handle, format="png", dpi=110)
    return path


def label(name: str) -> str:
    """Name of a curve in the legend: ``dense`` for ``raw_dense``, ``late`` for ``eval_late_mrr``."""
    if name == "teacher_entropy":
        return "late interaction"
    return name.removeprefix("raw_").removeprefix("eval_").removesuffix("_mrr").removesuffix("_entropy")


def read_curves(folder: Path, panels: Panels = STUDENT_PANELS) -> dict[str, list[tuple[int, float]]]:
    """Logged values that have a panel: by name, pairs of step and value in the order of the steps."""
    path = folder / LOG_FILE
    curves: dict[str, list[tuple[int, float]]] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        event: dict[str, Any] = json.loads(line)
        for name, value in event.items():
            drawn = any(sign in name for _, sign in panels)
            if drawn and isinstance(value, (int, float)):
                curves.setdefault(name, []).append((int(event["step"]), float(value)))
    return {name: points for name, points in curves.items() if not name.endswith(("runtime", "per_second"))}


TENSORBOARD_FOLDER = "tensorboard"


def tensorboard_callbacks(output: Path, step: int) -> list[TrainerCallback]:
    """The callback that writes ``tensorboard/``, in a list; an empty list where TensorBoard is not installed.

    Args:
        output: the training folder.
        step: that the training resumes from; what was written after it is dropped, and written again.
    """
    if find_spec("tensorboard") is None:
        return []
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(str(output / TENSORBOARD_FOLDER), purge_step=step + 1 if step else None)
    return [TensorBoardCallback(writer)]  # type: ignore[no-untyped-call]
