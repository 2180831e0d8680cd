"""Listwise training of a cross-encoder: the lists of each step, their pairs in micro-batches, the loss."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from ernie_search.errors import TrainingError
from ernie_search.mining.lists import TrainingList
from ernie_search.model.cross_encoder import pair_batches

PAIR_ORDERS = {"pair": "order"}
"""See :data:`ernie_search.training.trainer.ORDERS`."""


@dataclass(frozen=True, slots=True)
class DrawnList:
    """A question with the passages drawn for one step, by their ids, the positive first."""

    question: str
    passages: list[str]


class ListBatches(Dataset[list[DrawnList]]):
    """Item ``s * backwards + b`` is part ``b`` of step ``s``. Each epoch is a new permutation of the lists.

    Nothing depends on what was drawn before, so a resumed training has the same steps as an uninterrupted
    one.
    """

    def __init__(
        self,
        lists: Sequence[TrainingList],
        *,
        steps: int,
        questions: int,
        negatives: int,
        backwards: int,
        seed: int,
    ) -> None:
        """Check that every step can be filled.

        Raises:
            TrainingError: fewer lists than a step has questions, or one without negatives.
        """
        if not lists:
            raise TrainingError(
                "there is no list with a negative to train on; mine lists of more questions, or from a "
                "corpus that has passages which are not relevant to them"
            )
        if len(lists) < questions:
            raise TrainingError(
                f"{len(lists)} lists to train on are fewer than questions_per_batch={questions}; "
                f"set questions_per_batch to {len(lists)} or less"
            )
        empty = next((one.query for one in lists if not one.negatives), None)
        if empty is not None:
            raise TrainingError(f"the list of question {empty!r} has no negatives; mine some for it")
        self.lists, self.steps, self.questions = lists, steps, questions
        self.negatives, self.backwards, self.seed = negatives, backwards, seed
        self.per_epoch = len(lists) // questions
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, np.int64))

    def __len__(self) -> int:
        return self.steps * self.backwards

    def __getitem__(self, item: int) -> list[DrawnList]:
        if not 0 <= item < len(self):
            raise IndexError(item)
        step, part = divmod(item, self.backwards)
        epoch, place = divmod(step, self.per_epoch)
        size = self.questions // self.backwards
        start = place * self.questions + part * size
        return [self._draw(epoch, int(number)) for number in self._permutation(epoch)[start : start + size]]

    def drawn_passages(self) -> Iterator[tuple[str, str]]:
        """Question and passage id of every pair of every step."""
        for item in range(len(self)):
            for drawn in self[item]:
                for passage in drawn.passages:
                    yield drawn.question, passage

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.lists)))
        return self._order[1]

    def _draw(self, epoch: int, number: int) -> DrawnList:
        one = self.lists[number]
        draw = np.random.default_rng([self.seed, epoch, number])
        positive = one.positives[int(draw.integers(len(one.positives)))]
        picked = draw.permutation(len(one.negatives))[: self.negatives]
        return DrawnList(one.query, [positive, *(one.negatives[int(place)] for place in picked)])


@dataclass(slots=True)
class PairCollator:
    """Collates lists to tokenized pairs, sorted by length, in micro-batches under the token budget.

    Attributes:
        model: for its tokenizer and length.
        questions, passages: texts by id.
        token_budget: padded tokens in a micro-batch.
    """

    model: CrossEncoder
    questions: Mapping[str, str]
    passages: Mapping[str, str]
    token_budget: int

    def __call__(self, items: list[list[DrawnList]]) -> dict[str, Any]:
        """Collate one part of a step (the loader's batch size is one part): Q lists with N pairs in all.

        Returns:
            ``parts``: the micro-batches; ``order (N,)``: the place of each of their rows among the pairs;
            ``sizes``: passages of each list; ``truncated``: how many pairs were cut.
        """
        (lists,) = items
        pairs = [(self.questions[one.question], self.passages[p]) for one in lists for p in one.passages]
        batches = pair_batches(self.model, pairs, self.token_budget)
        return {
            "parts": batches.features,
            "order": torch.tensor([place for places in batches.places for place in places]),
            "sizes": [len(one.passages) for one in lists],
            "truncated": {"pair": batches.truncated},
        }


class ListwiseLoss(nn.Module):
    """Listwise cross entropy: ``-log softmax(s_CE / tau)`` at the positive (docs/method.md, "The teacher").

    The share of lists whose positive comes first, and the entropy of the softmax in nats, are collected until
    :meth:`take_raw`.
    """

    def __init__(self, model: CrossEncoder, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.raw: dict[str, list[Tensor]] = defaultdict(list)

    def forward(
        self, features: dict[str, Any], labels: None = None, prompt: None = None, task: None = None
    ) -> dict[str, Tensor]:
        """``{"loss_listwise": ..}``, the mean over the lists; the other arguments are the trainer's."""
        rows = torch.cat([self.model(dict(part))["scores"].float().reshape(-1) for part in features["parts"]])
        flat = torch.empty_like(rows).index_copy(0, features["order"].to(rows.device), rows)
        loss = listwise(flat, features["sizes"], self.temperature, self.raw)
        return {"loss_listwise": loss}

    def take_raw(self) -> dict[str, float]:
        """Means since the last call."""
        means = {name: round(torch.stack(v).mean().item(), 5) for name, v in self.raw.items() if v}
        self.raw.clear()
        return means


def listwise(
    logits: Tensor, sizes: list[int], temperature: float, raw: dict[str, list[Tensor]] | None = None
) -> Tensor:
    """Mean over Q lists of the cross entropy of the first passage.

    Args:
        logits: ``(N,)``, the lists one after the other, each with its positive first.
        sizes: passages of each list; they sum to N.
        temperature: divides the logits.
        raw: gets the share of lists whose first passage has the highest logit, and the mean entropy in nats.
    """
    grid = (
        pad_sequence(list(torch.split(logits, sizes)), batch_first=True, padding_value=-torch.inf)
        / temperature
    )
    first = torch.zeros(len(sizes), dtype=torch.long, device=grid.device)
    if raw is not None:
        still = grid.detach()
        raw["positive_first"].append((still.argmax(dim=1) == 0).float().mean())
        raw["entropy"].append(torch.special.entr(still.softmax(dim=1)).sum(dim=1).mean())
    return nn.functional.cross_entropy(grid, first)
