"""The method: pure functions of scores and masks. Weights live in the settings of training."""

from ernie_search.losses.candidates import Candidates, candidates
from ernie_search.losses.contrastive import contrastive
from ernie_search.losses.interaction import Distilled, interaction_distillation
from ernie_search.losses.late_interaction import maxsim

__all__ = ["Candidates", "Distilled", "candidates", "contrastive", "interaction_distillation", "maxsim"]
