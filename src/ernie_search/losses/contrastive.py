"""The contrastive loss, for the single vector or for late interaction."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from ernie_search.losses.candidates import Candidates


def contrastive(scores: Tensor, who: Candidates, temperature: float) -> Tensor:
    """Cross-entropy of the positive among each question's candidates, averaged over questions.

    ``L_X = -log softmax over C(q) of s_X / tau_X``, where ``X`` is the single vector or late interaction.

    Args:
        scores: scores of every question with every candidate.
        who: the candidates of each question; passages that are not allowed, and denoised ones, are left out
            of its softmax.
        temperature: ``tau_X``, which divides the scores; 0.05 suits cosines, 1 inner products.

    Returns:
        The loss in nats.

    Shapes:
        - ``scores``: ``(Q, P)``
        - returns: a scalar

    Source: InfoNCE with in-batch negatives, as in DPR (Karpukhin et al. 2020, arXiv 2004.04906); other known
    positives are masked, so that they are not taken for negatives.

    Example:
        >>> import torch
        >>> from ernie_search.losses import candidates, contrastive
        >>> who = candidates([["p1", "n1"], ["p2", "n2"]], positives=[{"p1"}, {"p2"}])
        >>> scores = torch.tensor([[0.9, 0.8, 0.1, 0.0], [0.2, 0.1, 0.7, 0.6]])
        >>> round(contrastive(scores, who, temperature=0.1).item(), 4)
        0.3168
    """
    logits = (scores / temperature).masked_fill(~who.contrastive, float("-inf"))
    return cross_entropy(logits, who.positive)
