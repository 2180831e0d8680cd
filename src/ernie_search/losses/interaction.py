"""Interaction distillation: late interaction teaches the single vector, in the same step."""

from torch import Tensor

from ernie_search.losses.distributions import Distilled, distil


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
    return distil(
        teacher,
        student,
        allowed,
        teacher_temperature=teacher_temperature,
        student_temperature=student_temperature,
        detach_teacher=detach_teacher,
    )
