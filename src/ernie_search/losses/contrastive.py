"""The contrastive loss, for either reading: find the positive among the candidates."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from ernie_search.losses.candidates import Candidates


def contrastive(scores: Tensor, who: Candidates, temperature: float) -> Tensor:
    """``L_X = -log softmax over C(q) of s_X / tau_X`` at the positive, mean over questions.

    Args:
        scores: ``(Q, P)`` scores of one reading.
        who: candidates; passages that are not allowed leave the softmax.
        temperature: ``tau_X``.

    Source: ERNIE-Search (Lu et al. 2022), eq. 2; known positives masked as in RocketQA (Qu et al. 2021).
    """
    logits = (scores / temperature).masked_fill(~who.allowed, float("-inf"))
    return cross_entropy(logits, who.positive)
