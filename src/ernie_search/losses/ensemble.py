"""Ensemble self-distillation, a baseline: the sum of both readings teaches each of them."""

from dataclasses import dataclass

from torch import Tensor

from ernie_search.losses.distributions import distil


@dataclass(frozen=True, slots=True)
class Ensembled:
    """The value of the ensemble loss.

    Attributes:
        late: scalar in nats: the ensemble teaching late interaction.
        dense: scalar in nats: the ensemble teaching the single vector.
        teacher_entropy: mean entropy of the ensemble in nats, without a gradient.
    """

    late: Tensor
    dense: Tensor
    teacher_entropy: Tensor


def ensemble_distillation(
    late: Tensor,
    dense: Tensor,
    allowed: Tensor,
    *,
    late_temperature: float,
    dense_temperature: float,
    late_weight: float = 1.0,
    dense_weight: float = 1.0,
) -> Ensembled:
    """KL divergence of each reading from the weighted sum of both, averaged over questions.

    ``s_ens = w_LI s_LI / T_LI + w_DE s_DE / T_DE`` and ``P_X = softmax(s_X / T_X)``; the loss of reading X is
    ``KL(P_ens || P_X)``. The sum is not divided by the weights, so two readings that agree make a sharper
    teacher than either alone.

    Args:
        late, dense: scores of both readings; they get a gradient as students, not as teachers.
        allowed: which candidates count; the others are left out of all softmaxes.
        late_temperature, dense_temperature: ``T_LI`` and ``T_DE``.
        late_weight, dense_weight: ``w_LI`` and ``w_DE`` in the teacher.

    Returns:
        The loss of each reading, and the teacher's entropy.

    Shapes:
        - ``late``, ``dense``, ``allowed`` (bool): ``(Q, P)``
        - returns: scalars

    Source: the self-knowledge distillation of BGE-M3 (Chen et al. 2024, arXiv 2402.03216).

    Example:
        >>> import torch
        >>> from ernie_search.losses import ensemble_distillation
        >>> late, dense = torch.tensor([[0.8, 0.4, 0.2]]), torch.tensor([[0.6, 0.5, 0.1]])
        >>> allowed = torch.ones(1, 3, dtype=torch.bool)
        >>> both = ensemble_distillation(late, dense, allowed, late_temperature=0.2, dense_temperature=0.2)
        >>> [round(value.item(), 4) for value in (both.late, both.dense, both.teacher_entropy)]
        [0.04, 0.2788, 0.2923]
    """
    teacher = late_weight * late / late_temperature + dense_weight * dense / dense_temperature
    to_late = distil(teacher, late, allowed, teacher_temperature=1.0, student_temperature=late_temperature)
    to_dense = distil(teacher, dense, allowed, teacher_temperature=1.0, student_temperature=dense_temperature)
    return Ensembled(to_late.loss, to_dense.loss, to_late.teacher_entropy)
