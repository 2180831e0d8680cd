"""MarginMSE: the student learns by how much the cross-encoder prefers the positive."""

from torch import Tensor


def margin_mse(teacher: Tensor, student: Tensor, kept: Tensor, *, student_scale: float = 1.0) -> Tensor:
    """Mean of ``((s_0 - s_j) - (t_0 - t_j))^2`` over all kept negatives of the batch, ``s`` scaled.

    Args:
        teacher: ``(Q, L)`` raw logits, position 0 the positive; never gets a gradient.
        student: ``(Q, L)`` scores of one reading for the same passages.
        kept: ``(Q, L)`` bool; a question whose positive is not kept has no margins.
        student_scale: what the student's scores are multiplied by. Cosines span 2 and logits some 20, so
            that without it a cosine can't reach the teacher's margins.

    Returns:
        A scalar in squared logits; zero where no margin is left.

    Source: Hofstätter et al. 2020, arXiv 2010.02666, eq. 4.
    """
    teacher = teacher.detach()
    wanted = teacher[:, :1] - teacher[:, 1:]
    found = (student[:, :1] - student[:, 1:]) * student_scale
    pairs = kept[:, :1] & kept[:, 1:]
    errors = (found - wanted).masked_fill(~pairs, 0.0).square()
    return errors.sum() / pairs.sum().clamp(min=1)
