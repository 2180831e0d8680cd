"""MarginMSE, a baseline: the student learns the cross-encoder's margins."""

from torch import Tensor


def margin_mse(teacher: Tensor, student: Tensor, kept: Tensor, *, student_scale: float = 1.0) -> Tensor:
    """Mean squared error between student's and teacher's margins of the positive over each negative.

    ``mean of ((a s_0 - a s_j) - (t_0 - t_j))^2`` over all kept negatives j of the batch.

    Args:
        teacher: raw logits of the cross-encoder, the positive first; they never get a gradient.
        student: scores of one reading for the same passages.
        kept: which passages count; a question whose positive is not kept has no margins.
        student_scale: ``a``, which multiplies the student's scores. Cosines span a range of 2 and logits one
            of about 20, so without a scale a cosine can't reach the teacher's margins.

    Returns:
        The loss in squared logits; zero if there is no margin.

    Shapes:
        - ``teacher``, ``student``, ``kept`` (bool): ``(Q, L)``, L passages a list
        - returns: a scalar

    Source: Hofstätter et al. 2020, arXiv 2010.02666; the mask and the scale are ours.

    Example:
        >>> import torch
        >>> from ernie_search.losses import margin_mse
        >>> logits, cosines = torch.tensor([[6.0, 4.0, -1.0]]), torch.tensor([[0.8, 0.6, 0.5]])
        >>> kept = torch.ones(1, 3, dtype=torch.bool)
        >>> round(margin_mse(logits, cosines, kept, student_scale=20.0).item(), 4)
        2.5
    """
    teacher = teacher.detach()
    wanted = teacher[:, :1] - teacher[:, 1:]
    found = (student[:, :1] - student[:, 1:]) * student_scale
    pairs = kept[:, :1] & kept[:, 1:]
    errors = (found - wanted).masked_fill(~pairs, 0.0).square()
    return errors.sum() / pairs.sum().clamp(min=1)
