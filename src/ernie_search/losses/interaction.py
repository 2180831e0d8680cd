"""Interaction distillation: late interaction teaches the single vector in the same step."""

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
    """KL divergence of the single vector's ranking from late interaction's, averaged over questions.

    ``L_LI>DE = KL(P_LI || P_DE)``. Both score matrices come from the same forward pass, which makes this self
    on-the-fly distillation: no second encoder, no stored scores.

    Args:
        teacher: late-interaction scores.
        student: single-vector scores.
        allowed: which candidates count; the others are left out of both softmaxes.
        teacher_temperature, student_temperature: separate from those of the contrastive losses; begin where
            the teacher's entropy is 0.5 to 1.5 nats.
        detach_teacher: stop the gradient on the teacher's side.

    Returns:
        The loss, and the teacher's entropy.

    Shapes:
        - ``teacher``, ``student``, ``allowed`` (bool): ``(Q, P)``
        - returns: scalars

    Source: the self on-the-fly distillation of ERNIE-Search (Lu et al. 2022, arXiv 2205.09153); stopping the
    gradient and separate temperatures are ours.

    Example:
        >>> import torch
        >>> from ernie_search.losses import interaction_distillation
        >>> late = torch.tensor([[0.62, 0.57, 0.40]])
        >>> dense = torch.tensor([[0.8, 0.6, 0.7]], requires_grad=True)
        >>> allowed = torch.ones(1, 3, dtype=torch.bool)
        >>> found = interaction_distillation(
        ...     late, dense, allowed, teacher_temperature=0.04, student_temperature=0.05
        ... )
        >>> found.loss.backward()
        >>> round(found.loss.item(), 4), round(found.teacher_entropy.item(), 4)
        (0.4872, 0.55)
    """
    return distil(
        teacher,
        student,
        allowed,
        teacher_temperature=teacher_temperature,
        student_temperature=student_temperature,
        detach_teacher=detach_teacher,
    )
