"""Cascade distillation: the cross-encoder teaches a reading over the question's own list."""

from torch import Tensor

from ernie_search.losses.distributions import Distilled, distil


def listwise_distillation(
    teacher: Tensor,
    student: Tensor,
    kept: Tensor,
    *,
    teacher_temperature: float,
    student_temperature: float,
) -> Distilled:
    """``L_CE>X = KL(P_CE || P_X)`` over each question's own list, mean over questions.

    ``X`` is late interaction (the cascade, CE > LI) or the dual-encoder (the short cut, CE > DE).

    Args:
        teacher: ``(Q, L)`` raw logits of the cross-encoder, positive first; never gets a gradient.
        student: ``(Q, L)`` scores of one reading for the same passages.
        kept: ``(Q, L)`` bool; false for padding, for known positives other than the drawn one, and for what
            was never scored. A question that keeps nothing is left out of the mean.
        teacher_temperature, student_temperature: start where the teacher's entropy is 0.5 to 1.5 nats.

    Source: ERNIE-Search (Lu et al. 2022), cascade distillation.
    """
    return distil(
        teacher,
        student,
        kept,
        teacher_temperature=teacher_temperature,
        student_temperature=student_temperature,
    )
