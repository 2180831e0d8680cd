"""A teacher watched on the way: on lists that it is not trained on."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sentence_transformers.base.evaluation import BaseEvaluator

from ernie_search.mining.lists import TrainingList
from ernie_search.model.cross_encoder import Pair, score_pairs


@dataclass(slots=True)
class HeldOut:
    """Texts of lists: the question with its first positive, then with each of its negatives."""

    lists: list[list[Pair]]


def sample_lists(lists: Iterable[TrainingList], number: int) -> list[TrainingList]:
    """``number`` of the lists that have negatives, chosen by a hash of the id: stable whatever the order."""
    kept = [one for one in lists if one.negatives]
    kept.sort(key=lambda one: hashlib.sha256(f"held-out:{one.query}".encode()).digest())
    return kept[:number]


class HeldOutEvaluator(BaseEvaluator):
    """MRR of the positive among its own list: watched, and nothing is chosen by it.

    The lists are those that the teacher will score, so choosing a checkpoint on them would tell it of them.
    """

    def __init__(self, sample: HeldOut, *, bf16: bool, token_budget: int | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sample, self.bf16, self.token_budget = sample, bf16, token_budget
        self.primary_metric = "held_out_mrr"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """``{"held_out_mrr": ..}``."""
        pairs = [pair for one in self.sample.lists for pair in one]
        scores = score_pairs(model, pairs, token_budget=self.token_budget, bf16=self.bf16)
        start, total = 0, 0.0
        for one in self.sample.lists:
            row = scores[start : start + len(one)]
            # Ties count against the positive: a teacher that scores all alike knows nothing.
            total += 1.0 / float((row >= row[0]).sum())
            start += len(one)
        return {"held_out_mrr": total / max(1, len(self.sample.lists))}
