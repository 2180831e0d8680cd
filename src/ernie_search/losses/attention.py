"""Token-level attention distillation: the cross-encoder shows late interaction where to match."""

import torch
from torch import Tensor

from ernie_search.losses.distributions import log_distribution


def attention_sums(
    teacher_map: Tensor,
    row_weight: Tensor,
    queries: Tensor,
    passages: Tensor,
    query_kept: Tensor,
    passage_kept: Tensor,
    temperature: float,
) -> Tensor:
    """What each pair adds to both sides of ``L_att``'s weighted mean: see :func:`attention_distillation`.

    Returns:
        ``(B, 2)``: the weighted sum of ``KL(A_CE[i] || A_LI[i])`` over the pair's question tokens, and the
        sum of their weights. The loss of any set of pairs is the ratio of the columns' sums.
    """
    columns = passage_kept[:, None, :].expand_as(teacher_map)
    mass = teacher_map.detach().masked_fill(~columns, 0.0)
    total = mass.sum(dim=-1, keepdim=True)
    wanted = mass / torch.where(total > 0, total, 1.0)
    log_found = log_distribution(torch.matmul(queries, passages.transpose(1, 2)), columns, temperature)
    rows = (torch.xlogy(wanted, wanted) - wanted * log_found).sum(dim=-1)  # (B, Lq)
    # A row without any attention on kept tokens says nothing, and must not count as a perfect match.
    taught = query_kept & (total.squeeze(-1) > 0)
    weights = row_weight.detach().masked_fill(~taught, 0.0)
    return torch.stack(((rows * weights).sum(dim=-1), weights.sum(dim=-1)), dim=-1)


def attention_mean(sums: Tensor) -> Tensor:
    """``(B, 2)`` of :func:`attention_sums` to ``L_att`` in nats; zero where no weight is left."""
    total, whole = sums.sum(dim=0)
    mean: Tensor = total / torch.where(whole > 0, whole, 1.0)
    return mean


def attention_distillation(
    teacher_map: Tensor,
    row_weight: Tensor,
    queries: Tensor,
    passages: Tensor,
    query_kept: Tensor,
    passage_kept: Tensor,
    *,
    temperature: float,
) -> Tensor:
    """``L_att``: the weighted mean of ``KL(A_CE[i] || A_LI[i])`` over all kept question tokens of the batch.

    ``A_LI[i, j] = softmax_j(<q_i, p_j> / tau_A)`` over the kept passage tokens.

    Args:
        teacher_map: ``(B, Lq, Lp)`` attention of question to passage tokens of B pairs; what it says of
            passage tokens that are not kept is left out, and its rows are brought back to sum to one.
            Never gets a gradient.
        row_weight: ``(B, Lq)``, not negative: the share of each question token's attention that goes to the
            passage at all.
        queries: ``(B, Lq, d)`` token vectors of the student.
        passages: ``(B, Lp, d)`` token vectors of the student.
        query_kept, passage_kept: ``(B, Lq)`` and ``(B, Lp)`` bool: tokens that both sides kept.
        temperature: ``tau_A``.

    Returns:
        A scalar in nats; zero where no weight is left.

    Source: ERNIE-Search (Lu et al. 2022), token-level attention distillation; its details are ours.
    """
    return attention_mean(
        attention_sums(teacher_map, row_weight, queries, passages, query_kept, passage_kept, temperature)
    )
