"""Cascade distillation: a cross-encoder teaches one reading over each question's own list."""

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
    """KL divergence of one reading from a cross-encoder over each question's list, averaged over questions.

    ``L_CE>X = KL(P_CE || P_X)``, where ``X`` is late interaction (the cascade, CE > LI) or the single vector
    (the short cut, CE > DE).

    Args:
        teacher: raw logits of the cross-encoder; they never get a gradient.
        student: scores of one reading for the same passages.
        kept: false for padding, for known positives other than the one drawn, and for passages without a
            score. A question with fewer than two kept passages is left out of the mean.
        teacher_temperature, student_temperature: begin where the teacher's entropy is 0.5 to 1.5 nats.

    Returns:
        The loss, and the teacher's entropy.

    Shapes:
        - ``teacher``, ``student``, ``kept`` (bool): ``(Q, L)``, L passages a list
        - returns: scalars

    Source: the cascade distillation of ERNIE-Search (Lu et al. 2022, arXiv 2205.09153); its details are ours.

    Example:
        >>> import torch
        >>> from ernie_search.losses import listwise_distillation
        >>> logits = torch.tensor([[6.0, 4.0, -1.0], [5.0, float("nan"), float("nan")]])
        >>> late = torch.tensor([[0.61, 0.57, 0.55], [0.70, 0.40, 0.30]])
        >>> scored = logits.isfinite()
        >>> found = listwise_distillation(
        ...     logits.nan_to_num(), late, scored, teacher_temperature=2.0, student_temperature=0.03
        ... )
        >>> round(found.loss.item(), 4)  # of the first question alone: the second has one scored passage
        0.0559
    """
    return distil(
        teacher,
        student,
        kept,
        teacher_temperature=teacher_temperature,
        student_temperature=student_temperature,
    )
