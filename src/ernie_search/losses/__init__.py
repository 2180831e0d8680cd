"""The loss terms of the method, as pure functions of scores, masks and teacher scores, and all as one.

Each function computes one term and no weights: a training loop adds the terms up. They work with any encoder
that gives a vector for each text, and for late interaction a matrix of token vectors. ``ErnieSearchLoss`` is
the weighted sum for sentence-transformers' own trainer.
"""

from ernie_search.losses.attention import Attended, attention_means, attention_sums
from ernie_search.losses.cached import CachedPassages
from ernie_search.losses.candidates import Candidates, candidates
from ernie_search.losses.contrastive import contrastive
from ernie_search.losses.distributions import Distilled, entropy_advice
from ernie_search.losses.dual import dual_regularization
from ernie_search.losses.ensemble import Ensembled, ensemble_distillation
from ernie_search.losses.ernie_search_loss import ErnieSearchLoss
from ernie_search.losses.interaction import interaction_distillation
from ernie_search.losses.late_interaction import maxsim
from ernie_search.losses.listwise import listwise_distillation
from ernie_search.losses.margin_mse import margin_mse
from ernie_search.losses.settings import LossSettings

__all__ = [
    "Attended",
    "CachedPassages",
    "Candidates",
    "Distilled",
    "Ensembled",
    "ErnieSearchLoss",
    "LossSettings",
    "attention_means",
    "attention_sums",
    "candidates",
    "contrastive",
    "dual_regularization",
    "ensemble_distillation",
    "entropy_advice",
    "interaction_distillation",
    "listwise_distillation",
    "margin_mse",
    "maxsim",
]
