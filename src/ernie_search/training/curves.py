"""The curves of a run as one picture: losses, the teachers' entropies, gradient norms, dev."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from transformers import TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback

from ernie_search._util.files import atomic_write
from ernie_search.training.log import LOG_FILE

CURVES_FILE = "curves.png"
Panels = Sequence[tuple[str, str]]
"""Title of each of four panels, and what the names of its curves have in them."""
STUDENT_PANELS: Panels = (
    ("loss terms, unweighted", "raw_"),
    ("teacher's entropy, nats", "_entropy"),
    ("norm of the gradient", "grad_norm"),
    ("dev sample, MRR@10", "eval_"),
)


def draw_curves(folder: Path, panels: Panels = STUDENT_PANELS) -> Path | None:
    """Draw ``log.jsonl`` of a run into ``curves.png`` beside it.

    Args:
        folder: of the run.
        panels: what is drawn.

    Returns:
        The picture's path; ``None`` where nothing was logged.

    Raises:
        StorageError: the disk refused.
    """
    curves = read_curves(folder, panels)
    if not curves:
        return None
    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, sign) in zip(figure.subplots(2, 2, sharex=True).flat, panels, strict=True):
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
            axes.text(0.5, 0.5, "none in this run", ha="center", transform=axes.transAxes, color="grey")
    figure.supxlabel("step", fontsize=10)
    path = folder / CURVES_FILE
    with atomic_write(path, "wb") as handle:
        figure.savefig(handle, format="png", dpi=110)
    return path


def label(name: str) -> str:
    """What a curve is called: ``raw_dense`` is ``dense``, ``eval_late_mrr`` is ``late``."""
    if name == "teacher_entropy":
        return "late interaction"
    return name.removeprefix("raw_").removeprefix("eval_").removesuffix("_mrr").removesuffix("_entropy")


def read_curves(folder: Path, panels: Panels = STUDENT_PANELS) -> dict[str, list[tuple[int, float]]]:
    """Step and value of everything that was logged and has a panel, by name, in the order of the steps."""
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


FOLDER = "tensorboard"


def tensorboard_callbacks(output: Path, step: int) -> list[TrainerCallback]:
    """The callback that writes ``tensorboard/`` of a run; none where TensorBoard is not installed.

    Args:
        output: folder of the run.
        step: the one that the run goes on from; what was written after it is dropped, and comes again.
    """
    if find_spec("tensorboard") is None:
        return []
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(str(output / FOLDER), purge_step=step + 1 if step else None)
    return [TensorBoardCallback(writer)]  # type: ignore[no-untyped-call]
