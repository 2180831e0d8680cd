"""Watches the teachers' entropies: a flat or one-hot teacher teaches nothing, and nothing else shows it."""

from collections.abc import Iterator, Mapping
from typing import Any

from ernie_search.losses import entropy_advice
from ernie_search.training.settings import TrainSettings


def scores_advice(entropy: float, candidates: int, temperature: float) -> str | None:
    """One line where a cross-encoder's scores of lists are almost flat or one-hot to a training.

    Args:
        entropy: mean of the lists' softmax, in nats.
        candidates: of a list, in the mean.
        temperature: at which it was taken.
    """
    advice = entropy_advice(entropy, candidates, "cross_temperature")
    return advice and f"with cross_temperature={temperature:g}, as trainings have it, {advice}"


class EntropyWatch:
    """Advice on each teacher, once a run."""

    def __init__(self, settings: TrainSettings) -> None:
        own = 1 + settings.negatives
        batch = settings.questions_per_batch * own
        over = own if settings.distillation_candidates == "own" else batch
        self.waiting = {
            "teacher_entropy": (over, "teacher_temperature"),
            "cross_entropy": (own, "cross_temperature"),
        }

    def heed(self, logged: Mapping[str, Any]) -> Iterator[str]:
        """Lines of advice on what was logged: the entropy, and which setting to change how."""
        for name, (candidates, setting) in list(self.waiting.items()):
            if name in logged:
                advice = entropy_advice(float(logged[name]), candidates, setting)
                if advice:
                    del self.waiting[name]
                    yield advice
