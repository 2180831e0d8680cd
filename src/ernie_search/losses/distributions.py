"""Distributions over candidates and their KL divergence, shared by the distillation losses."""

from dataclasses import dataclass

import torch
from torch import Tensor

HIDDEN = -1e9
"""Used as minus infinity in log-softmax, since a true infinity would give ``0 * inf`` = NaN in the KL."""


@dataclass(frozen=True, slots=True)
class Distilled:
    """The value of a distillation loss.

    Attributes:
        loss: scalar in nats.
        teacher_entropy: the teacher's mean entropy in nats, without a gradient. Log it: a teacher that is
            almost flat or almost one-hot has little to teach.
    """

    loss: Tensor
    teacher_entropy: Tensor


def log_distribution(scores: Tensor, allowed: Tensor, temperature: float) -> Tensor:
    """Log-softmax of ``scores / temperature`` over the allowed entries of the last dimension.

    Args:
        scores: ``(..., P)``; entries that are not allowed are ignored.
        allowed: ``(..., P)`` bool.
        temperature: above zero.
    """
    return torch.log_softmax((scores / temperature).masked_fill(~allowed, HIDDEN), dim=-1)


def kl_rows(log_p: Tensor, log_q: Tensor) -> Tensor:
    """``KL(P || Q)`` of each row in nats: ``(..., P)`` and ``(..., P)`` to ``(...)``."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def entropy_rows(log_p: Tensor) -> Tensor:
    """Entropy of each row in nats: ``(..., P)`` to ``(...)``."""
    return -(log_p.exp() * log_p).sum(dim=-1)


def mean_over_questions(rows: Tensor, allowed: Tensor) -> Tensor:
    """Mean of ``rows (Q,)`` over the questions with at least two candidates; zero if there are none.

    A question with fewer (its list was never scored, or lost all scored negatives) is left out of the mean.
    """
    present = (allowed.sum(dim=-1) > 1).to(rows.dtype)
    return (rows * present).sum() / present.sum().clamp(min=1)


def distil(
    teacher: Tensor,
    student: Tensor,
    allowed: Tensor,
    *,
    teacher_temperature: float,
    student_temperature: float,
    detach_teacher: bool = True,
) -> Distilled:
    """``KL(softmax(teacher / T_teacher) || softmax(student / T_student))``, averaged over questions.

    Args:
        teacher, student: ``(Q, P)`` scores of the same candidates.
        allowed: ``(Q, P)`` bool; other candidates are left out of both softmaxes.
        teacher_temperature, student_temperature: above zero.
        detach_teacher: stop the gradient on the teacher's side.
    """
    log_teacher = log_distribution(
        teacher.detach() if detach_teacher else teacher, allowed, teacher_temperature
    )
    log_student = log_distribution(student, allowed, student_temperature)
    loss = mean_over_questions(kl_rows(log_teacher, log_student), allowed)
    entropy = mean_over_questions(entropy_rows(log_teacher.detach()), allowed)
    return Distilled(loss, entropy)
