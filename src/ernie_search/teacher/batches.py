"""Which lists stand in which step, and what is drawn of each: a function of the seed alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ernie_search.errors import TrainingError
from ernie_search.mining.lists import TrainingList


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a question is shown with: passage ids, the positive first."""

    question: str
    passages: list[str]


class ListBatches(Dataset[list[Drawn]]):
    """Item ``s * backwards + b`` is part ``b`` of step ``s``. Each epoch is a new permutation of the lists.

    Nothing depends on what was drawn before, so step 137 of a resumed run is step 137 of the first one.
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

    def __getitem__(self, item: int) -> list[Drawn]:
        if not 0 <= item < len(self):
            raise IndexError(item)
        step, part = divmod(item, self.backwards)
        epoch, place = divmod(step, self.per_epoch)
        size = self.questions // self.backwards
        start = place * self.questions + part * size
        return [self._draw(epoch, int(number)) for number in self._permutation(epoch)[start : start + size]]

    def drawn_passages(self) -> Iterator[tuple[str, str]]:
        """Question and passage id of everything that any step will show."""
        for item in range(len(self)):
            for drawn in self[item]:
                for passage in drawn.passages:
                    yield drawn.question, passage

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.lists)))
        return self._order[1]

    def _draw(self, epoch: int, number: int) -> Drawn:
        one = self.lists[number]
        draw = np.random.default_rng([self.seed, epoch, number])
        positive = one.positives[int(draw.integers(len(one.positives)))]
        picked = draw.permutation(len(one.negatives))[: self.negatives]
        return Drawn(one.query, [positive, *(one.negatives[int(place)] for place in picked)])
