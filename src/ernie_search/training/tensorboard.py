"""Curves for TensorBoard, where it is installed: the standard callback, in the run's own folder."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.integrations.integration_utils import TensorBoardCallback

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
