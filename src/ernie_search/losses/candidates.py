"""``C(q)``: which passages of the batch stand against each other for a question.

A batch has Q questions, each with a group of ``1 + n`` passages, its positive first; the groups stand one
after the other, so there are ``P = Q (1 + n)`` places. A passage that stands in several groups is one
candidate: counted as often as it stands there, it would weigh more than the others for no reason of its own.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ernie_search.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Candidates:
    """Who takes part.

    Attributes:
        positive: ``(Q,)`` column of each question's positive.
        allowed: ``(Q, P)`` bool; each passage once, in the question's own group where it stands there; none
            of its known positives but the drawn one.
        own: ``(Q, P)`` bool; true for the question's own group, where allowed.
    """

    positive: Tensor
    allowed: Tensor
    own: Tensor

    def to(self, device: Any) -> "Candidates":
        """The same on another device."""
        return Candidates(self.positive.to(device), self.allowed.to(device), self.own.to(device))


def candidates(groups: Sequence[Sequence[str]], positives: Sequence[set[str] | frozenset[str]]) -> Candidates:
    """Build the masks from passage ids.

    Args:
        groups: Q lists of ``1 + n`` passage ids, the drawn positive first.
        positives: for each question, all passages known to be relevant, and any other that is no negative.

    Raises:
        TrainingError: groups of different sizes, or a question that is left without any negative.
    """
    size = len(groups[0])
    if any(len(group) != size for group in groups):
        raise TrainingError(
            f"groups of different sizes in one batch: {sorted({len(g) for g in groups})}; give each {size}"
        )
    flat = [passage for group in groups for passage in group]
    positive = torch.arange(len(groups)) * size
    allowed = torch.ones(len(groups), len(flat), dtype=torch.bool)
    own = torch.zeros_like(allowed)
    places: dict[str, list[int]] = defaultdict(list)
    for column, passage in enumerate(flat):
        places[passage].append(column)
    repeated = {passage: columns for passage, columns in places.items() if len(columns) > 1}
    for columns in repeated.values():
        allowed[:, columns[1:]] = False
    for row, known in enumerate(positives):
        own[row, row * size : (row + 1) * size] = True
        for column, passage in enumerate(groups[row], row * size):
            if passage in repeated:
                allowed[row, repeated[passage]] = False
                allowed[row, column] = True
        masked = [column for passage in known for column in places.get(passage, ())]
        allowed[row, masked] = False
        allowed[row, row * size] = True
    if not bool((allowed.sum(dim=1) > 1).all()):
        raise TrainingError(
            "a question has no negative among its candidates, so there is nothing to learn; "
            "set questions_per_batch to 2 or more, or negatives to 1 or more"
        )
    return Candidates(positive, allowed, own & allowed)
