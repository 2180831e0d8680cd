"""Ensemble self-distillation: both readings together teach each one (a baseline of the comparison)."""

from dataclasses import dataclass

from torch import Tensor

from ernie_search.losses.distributions import distil


@dataclass(frozen=True, slots=True)
class Ensembled:
    """What the ensemble teaches late interaction and the dual-encoder, and its mean entropy in nats."""

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
    """``KL(P_ens || P_X)`` for both readings X, mean over questions.

    ``s_ens = w_LI s_LI / T_LI + w_DE s_DE / T_DE``, and ``P_X = softmax(s_X / T_X)``. The sum is not divided
    by the weights, as in the source: two readings that agree are surer than either alone.

    Args:
        late, dense: ``(Q, P)`` scores of both readings. No gradient as teachers, one as students.
        allowed: ``(Q, P)`` bool; other candidates leave all softmaxes.
        late_temperature, dense_temperature: ``T_LI`` and ``T_DE``.
        late_weight, dense_weight: ``w_LI`` and ``w_DE`` in the teacher.

    Source: BGE-M3 (Chen et al. 2024), arXiv 2402.03216, eqs. 5 and 6.
    """
    teacher = late_weight * late / late_temperature + dense_weight * dense / dense_temperature
    to_late = distil(teacher, late, allowed, teacher_temperature=1.0, student_temperature=late_temperature)
    to_dense = distil(teacher, dense, allowed, teacher_temperature=1.0, student_temperature=dense_temperature)
    return Ensembled(to_late.loss, to_dense.loss, to_late.teacher_entropy)
