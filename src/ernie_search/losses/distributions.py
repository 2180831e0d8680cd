"""Distributions over candidates and their KL divergence, shared by the distillation losses."""

import math
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


ONE_HOT_NATS = 0.3
"""Below this a teacher over many candidates repeats the labels (measured: 0.25 nats over 48)."""
ONE_HOT_SHARE = 0.1
FLAT_SHARE = 0.9
"""Shares of the largest possible entropy, ``ln`` of the number of candidates: outside of these two a teacher
has nothing to teach."""
AIM_NATS = (0.5, 1.5)
AIM_SHARES = (0.25, 0.75)
"""What to aim for (docs/method.md, "Loss 2: interaction distillation"), and bounds for short lists."""


def entropy_advice(entropy: float, candidates: int, setting: str) -> str | None:
    """One line of advice if a teacher is almost flat or almost one-hot, else None.

    Args:
        entropy: the teacher's mean entropy in nats.
        candidates: the mean number of candidates of a question, rounded.
        setting: the name of the temperature to change, for the message.

    Returns:
        The advice, or None.

    Source: the thresholds are ours, from measurements on SQuAD.

    Example:
        >>> from ernie_search.losses import entropy_advice
        >>> entropy_advice(1.0, candidates=48, setting="teacher_temperature") is None
        True
        >>> entropy_advice(0.1, candidates=48, setting="teacher_temperature").split("; ")[1]
        'raise teacher_temperature until it is 0.5 to 1.5'
    """
    if candidates < 2:
        return None
    largest = math.log(candidates)
    aims = [min(nats, share * largest) for nats, share in zip(AIM_NATS, AIM_SHARES, strict=True)]
    found = f"the teacher's entropy is {entropy:.2f} nats over {candidates} candidates"
    aim = f"until it is {aims[0]:.1f} to {aims[1]:.1f}"
    if entropy < min(ONE_HOT_NATS, ONE_HOT_SHARE * largest):
        return f"{found}: almost one-hot, it says nothing that the labels don't; raise {setting} {aim}"
    if entropy > FLAT_SHARE * largest:
        return f"{found}, of {largest:.2f} at most: almost flat, it prefers nothing; lower {setting} {aim}"
    return None
