"""Scores over candidates as distributions, and how far two of them are apart: shared by the distillations."""

from dataclasses import dataclass

import torch
from torch import Tensor

HIDDEN = -1e9
"""Stands for minus infinity in log-softmax, where a true infinity would make ``0 * inf`` in KL."""


@dataclass(frozen=True, slots=True)
class Distilled:
    """The loss, and the teacher's mean entropy in nats: flat or one-hot teachers teach nothing."""

    loss: Tensor
    teacher_entropy: Tensor


def log_distribution(scores: Tensor, allowed: Tensor, temperature: float) -> Tensor:
    """Log-softmax of ``scores / temperature`` over the last dimension, among the allowed entries alone.

    Args:
        scores: ``(..., P)``; what stands at entries that are not allowed is never read.
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
    """Mean of ``rows (Q,)`` over the questions that have a choice; zero where none has one.

    One candidate or none (a list that was never scored, or lost all its scored negatives) is no choice: such
    a question neither counts nor makes the mean smaller.
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
    """``KL(softmax(teacher / T_teacher) || softmax(student / T_student))``, mean over questions.

    Args:
        teacher, student: ``(Q, P)`` scores of the same candidates.
        allowed: ``(Q, P)`` bool; other candidates leave both softmaxes.
        teacher_temperature, student_temperature: above zero.
        detach_teacher: no gradient into the teacher's side.
    """
    log_teacher = log_distribution(
        teacher.detach() if detach_teacher else teacher, allowed, teacher_temperature
    )
    log_student = log_distribution(student, allowed, student_temperature)
    loss = mean_over_questions(kl_rows(log_teacher, log_student), allowed)
    entropy = mean_over_questions(entropy_rows(log_teacher.detach()), allowed)
    return Distilled(loss, entropy)
