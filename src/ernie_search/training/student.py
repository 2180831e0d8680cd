"""Preparing the student for training: dropout, attention, compilation, size of a micro-batch."""

import torch
from torch import nn

from ernie_search.errors import SettingsError
from ernie_search.losses.terms import check_dropout
from ernie_search.model import JointEncoder
from ernie_search.model.base import set_attention_dropout
from ernie_search.model.cpu_attention import use_cpu_attention
from ernie_search.runtime.batches import GPU_TOKEN_BUDGET
from ernie_search.training.settings import TrainSettings

CPU_TRAINING_BUDGET = 2048
"""Padded tokens per micro-batch on a processor."""


def make_ready(model: JointEncoder, settings: TrainSettings) -> None:
    """Set dropout, attention and compilation for training; what is saved of the model stays the same.

    Args:
        model: the student, on its device.
        settings: the training's.

    Raises:
        SettingsError: dual regularization without any dropout; dropout of a kind that the base has not.
    """
    attention = set_attention_dropout(model, settings.attention_dropout)
    if settings.hidden_dropout is not None:
        _set_hidden_dropout(model, attention, settings.hidden_dropout)
    if settings.compile:
        model.backbone.compile(dynamic=True)
    else:
        use_cpu_attention(model)
    check_dropout(model, settings)


def _set_hidden_dropout(model: JointEncoder, attention: set[nn.Dropout], rate: float) -> None:
    """Set every dropout layer of the backbone that does not act on attention weights."""
    hidden = [one for one in model.backbone.modules() if isinstance(one, nn.Dropout) and one not in attention]
    if rate > 0 and not hidden:
        raise SettingsError(
            f"hidden_dropout is {rate:g}, and {model.name} has no dropout layer beside attention; "
            "leave it out"
        )
    for dropout in hidden:
        dropout.p = rate


def usual_budget(device: torch.device) -> int:
    """Padded tokens per micro-batch on this device, where none are set."""
    return CPU_TRAINING_BUDGET if device.type == "cpu" else GPU_TOKEN_BUDGET
