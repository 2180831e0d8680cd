"""Dual regularization: two forward passes under different dropout should agree."""

from torch import Tensor

from ernie_search.losses.distributions import kl_rows, log_distribution, mean_over_questions


def dual_regularization(first: Tensor, second: Tensor, allowed: Tensor, *, temperature: float) -> Tensor:
    """Symmetric KL divergence between the rankings of two forward passes, averaged over questions.

    ``L_dual = (KL(P1 || P2) + KL(P2 || P1)) / 2``. Both passes get a gradient.

    Args:
        first, second: single-vector scores of the same candidates from two passes. Without active dropout
            both are equal, and the loss is zero.
        allowed: which candidates count; the others are left out of both softmaxes.
        temperature: divides the scores of both passes.

    Returns:
        The loss in nats.

    Shapes:
        - ``first``, ``second``, ``allowed`` (bool): ``(Q, P)``
        - returns: a scalar

    Source: R-Drop (Liang et al. 2021, arXiv 2106.14448); its use here follows the dual regularization of
    ERNIE-Search (Lu et al. 2022, arXiv 2205.09153), with details of our own.

    Example:
        >>> import torch
        >>> from ernie_search.losses import dual_regularization
        >>> first, second = torch.tensor([[0.9, 0.5, 0.1]]), torch.tensor([[0.8, 0.7, 0.1]])
        >>> allowed = torch.ones(1, 3, dtype=torch.bool)
        >>> round(dual_regularization(first, second, allowed, temperature=0.1).item(), 4)
        0.3763
        >>> dual_regularization(first, first, allowed, temperature=0.1).item()
        0.0
    """
    log_first = log_distribution(first, allowed, temperature)
    log_second = log_distribution(second, allowed, temperature)
    both = kl_rows(log_first, log_second) + kl_rows(log_second, log_first)
    return mean_over_questions(both, allowed) / 2
