"""Token-level attention distillation: the cross-encoder shows late interaction where to match."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ernie_search.losses.distributions import entropy_rows, log_distribution


@dataclass(frozen=True, slots=True)
class Attended:
    """The loss, and the mean entropies of both sides' rows in nats, weighted as the loss weights them.

    ``tau_A`` moves the student's alone: far below the teacher's, it asks for token vectors that match nothing
    in particular; see docs/method.md, loss 4.
    """

    loss: Tensor
    teacher_entropy: Tensor
    student_entropy: Tensor


def attention_sums(
    teacher_map: Tensor,
    row_weight: Tensor,
    queries: Tensor,
    passages: Tensor,
    query_kept: Tensor,
    passage_kept: Tensor,
    temperature: float,
) -> Tensor:
    """What each pair adds to ``L_att``'s weighted means: see :func:`attention_distillation`.

    Returns:
        ``(B, 4)``: over the pair's question tokens the sum of their weights, and the weighted sums of
        ``KL(A_CE[i] || A_LI[i])`` and of the entropies of ``A_CE[i]`` and ``A_LI[i]``, which have no
        gradient. A mean over any set of pairs is the ratio of two columns' sums.
    """
    columns = passage_kept[:, None, :].expand_as(teacher_map)
    mass = teacher_map.detach().masked_fill(~columns, 0.0)
    total = mass.sum(dim=-1, keepdim=True)
    wanted = mass / torch.where(total > 0, total, 1.0)
    log_found = log_distribution(torch.matmul(queries, passages.transpose(1, 2)), columns, temperature)
    certain = torch.xlogy(wanted, wanted).sum(dim=-1)  # (B, Lq), minus the teacher's entropy
    rows = certain - (wanted * log_found).sum(dim=-1)
    # A row without any attention on kept tokens says nothing, and must not count as a perfect match.
    taught = query_kept & (total.squeeze(-1) > 0)
    weights = row_weight.detach().masked_fill(~taught, 0.0)
    each = (torch.ones_like(weights), rows, -certain, entropy_rows(log_found.detach()))
    return torch.stack([(one * weights).sum(dim=-1) for one in each], dim=-1)


def attention_means(sums: Tensor) -> Attended:
    """``(B, 4)`` of :func:`attention_sums` to ``L_att`` and entropies; zeros where no weight is left."""
    whole, *totals = sums.sum(dim=0)
    loss, teacher, student = (total / torch.where(whole > 0, whole, 1.0) for total in totals)
    return Attended(loss, teacher.detach(), student.detach())


def attention_distillation(
    teacher_map: Tensor,
    row_weight: Tensor,
    queries: Tensor,
    passages: Tensor,
    query_kept: Tensor,
    passage_kept: Tensor,
    *,
    temperature: float,
) -> Attended:
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
        Scalars in nats; zero where no weight is left.

    Source: ERNIE-Search (Lu et al. 2022), token-level attention distillation; its details are ours.
    """
    return attention_means(
        attention_sums(teacher_map, row_weight, queries, passages, query_kept, passage_kept, temperature)
    )
