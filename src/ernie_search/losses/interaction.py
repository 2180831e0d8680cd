"""Interaction distillation: late interaction teaches the single vector, in the same step."""

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


def interaction_distillation(
    teacher: Tensor,
    student: Tensor,
    allowed: Tensor,
    *,
    teacher_temperature: float,
    student_temperature: float,
    detach_teacher: bool = True,
) -> Distilled:
    """``L_LI>DE = KL(P_LI || P_DE)``, mean over questions: self on-the-fly distillation.

    Args:
        teacher: ``(Q, P)`` late-interaction scores.
        student: ``(Q, P)`` dual-encoder scores.
        allowed: ``(Q, P)`` bool; candidates that are not allowed leave both softmaxes.
        teacher_temperature, student_temperature: apart from the contrastive ones; start where the teacher's
            entropy is 0.5 to 1.5 nats.
        detach_teacher: no gradient into the teacher's side.

    Source: ERNIE-Search (Lu et al. 2022), self on-the-fly distillation.
    """
    if detach_teacher:
        teacher = teacher.detach()
    log_teacher = torch.log_softmax((teacher / teacher_temperature).masked_fill(~allowed, HIDDEN), dim=-1)
    log_student = torch.log_softmax((student / student_temperature).masked_fill(~allowed, HIDDEN), dim=-1)
    teacher_p = log_teacher.exp()
    loss = (teacher_p * (log_teacher - log_student)).sum(dim=-1).mean()
    entropy = -(teacher_p * log_teacher).sum(dim=-1).mean()
    return Distilled(loss, entropy.detach())
