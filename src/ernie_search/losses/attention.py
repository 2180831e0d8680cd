"""Token-level attention distillation: a cross-encoder's attention teaches late interaction where to match.

The loss is a weighted mean over question tokens. It comes in two parts, so that a batch may be split over
micro-batches or processes: :func:`attention_sums` for some pairs, :func:`attention_means` over all of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ernie_search.losses.distributions import entropy_rows, log_distribution


@dataclass(frozen=True, slots=True)
class Attended:
    """The value of the attention loss, all in nats.

    ``tau_A`` changes the student's entropy only. Far below the teacher's entropy it asks for token vectors
    that match nothing in particular; see docs/method.md, "Loss 4: token-level attention".

    Attributes:
        loss: ``L_att``, a scalar.
        teacher_entropy: mean entropy of the teacher's rows, weighted as the loss is; without a gradient.
        student_entropy: the same of the student's rows.
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
    """What each question-passage pair adds to the weighted means of the attention loss.

    ``A_LI[i, j] = softmax_j(<q_i, p_j> / tau_A)`` over the kept passage tokens, and the loss is the weighted
    mean of ``KL(A_CE[i] || A_LI[i])`` over all kept question tokens of the batch.

    Args:
        teacher_map: attention of the cross-encoder from question to passage tokens. Entries of passage tokens
            that are not kept are ignored, and each row is normalised to sum to one. No gradient.
        row_weight: not negative: the share of each question token's attention that goes to the passage.
        queries, passages: token vectors of the student, which get a gradient.
        query_kept, passage_kept: which tokens count: those that teacher and student both kept.
        temperature: ``tau_A``.

    Returns:
        For each pair the sum of its token weights, and the weighted sums of the KL divergence, of the
        teacher's entropy and of the student's entropy (the entropies have no gradient).

    Shapes:
        - ``teacher_map``: ``(B, Lq, Lp)``, ``row_weight``: ``(B, Lq)``
        - ``queries``: ``(B, Lq, d)``, ``passages``: ``(B, Lp, d)``
        - ``query_kept`` (bool): ``(B, Lq)``, ``passage_kept`` (bool): ``(B, Lp)``
        - returns: ``(B, 4)``

    Source: the token-level attention distillation of ERNIE-Search (Lu et al. 2022, arXiv 2205.09153); its
    details are ours.

    Example:
        >>> import torch
        >>> from ernie_search.losses import attention_sums
        >>> attention = torch.tensor([[[0.7, 0.3], [0.2, 0.8]]])
        >>> queries = torch.eye(2)[None]
        >>> kept = torch.ones(1, 2, dtype=torch.bool)
        >>> sums = attention_sums(attention, torch.ones(1, 2), queries, queries, kept, kept, temperature=1.0)
        >>> [round(value, 4) for value in sums[0].tolist()]  # weight, KL, and both entropies
        [2.0, 0.0153, 1.1113, 1.1644]
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
    """The attention loss and both entropies, from the sums of all pairs of a batch.

    Args:
        sums: from :func:`attention_sums`; rows of several calls may be concatenated.

    Returns:
        The weighted means over all question tokens; zeros if no token has a weight.

    Shapes:
        - ``sums``: ``(B, 4)``
        - returns: scalars

    Source: see :func:`attention_sums`.

    Example:
        >>> import torch
        >>> from ernie_search.losses import attention_means
        >>> found = attention_means(torch.tensor([[2.0, 0.2, 1.0, 1.2], [1.0, 0.4, 0.5, 0.6]]))
        >>> round(found.loss.item(), 4), round(found.teacher_entropy.item(), 4)
        (0.2, 0.5)
    """
    whole, *totals = sums.sum(dim=0)
    loss, teacher, student = (total / torch.where(whole > 0, whole, 1.0) for total in totals)
    return Attended(loss, teacher.detach(), student.detach())
