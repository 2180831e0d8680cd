"""Dual regularization: two passes under different dropout should agree."""

from torch import Tensor

from ernie_search.losses.distributions import kl_rows, log_distribution, mean_over_questions


def dual_regularization(first: Tensor, second: Tensor, allowed: Tensor, *, temperature: float) -> Tensor:
    """``L_dual = (KL(P1 || P2) + KL(P2 || P1)) / 2``, mean over questions; both sides learn.

    Args:
        first, second: ``(Q, P)`` dual-encoder scores of the same candidates from two passes. Where no dropout
            is active both are equal, and the loss is identically zero.
        allowed: ``(Q, P)`` bool; other candidates leave both softmaxes.
        temperature: of both sides.

    Source: ERNIE-Search (Lu et al. 2022), dual regularization, in the form of R-Drop (Liang et
    al. 2021, eq. 2).
    """
    log_first = log_distribution(first, allowed, temperature)
    log_second = log_distribution(second, allowed, temperature)
    both = kl_rows(log_first, log_second) + kl_rows(log_second, log_first)
    return mean_over_questions(both, allowed) / 2
