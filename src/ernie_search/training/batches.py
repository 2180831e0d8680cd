"""Which question stands in which step, with which positive and negatives: a function of the seed alone.

Nothing here depends on what was drawn before, so step 137 of a resumed run is step 137 of the first one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch.utils.data import Dataset

from ernie_search.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Example:
    """A question, all its known positives, and the negatives it may be shown.

    Attributes:
        question: its text.
        positives, negatives: passage ids.
        positive_scores, negative_scores: a cross-encoder's logits, one a passage; () where none scored them.
        id: of the question.
    """

    question: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    positive_scores: tuple[float, ...] = ()
    negative_scores: tuple[float, ...] = ()
    id: str = ""


@dataclass(frozen=True, slots=True)
class StepBatch:
    """The texts of one step: Q questions, and Q groups of ``1 + n`` passage ids, the positive first.

    Attributes:
        questions, ids: texts and ids.
        groups: passage ids.
        positives: all known positives of each question.
        scores: a cross-encoder's logits for each group; empty lists where none scored them.
    """

    questions: list[str]
    groups: list[list[str]]
    positives: list[frozenset[str]]
    scores: list[list[float]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


class StepBatches(Dataset[StepBatch]):
    """Item ``s`` is the batch of step ``s``. Each epoch is a new permutation; no question twice in a step."""

    def __init__(
        self, examples: Sequence[Example], *, steps: int, questions: int, negatives: int, seed: int
    ) -> None:
        """Check that every step can be filled.

        Raises:
            TrainingError: fewer questions than a batch, a question with too few negatives, or one whose
                whole batch is relevant to it.
        """
        if len(examples) < questions:
            raise TrainingError(
                f"{len(examples)} training questions are fewer than questions_per_batch={questions}; "
                f"set questions_per_batch to {max(1, len(examples))} or less"
            )
        for example in examples:
            if len(example.negatives) < negatives:
                raise TrainingError(
                    f"question {example.question!r} has {len(example.negatives)} negatives, "
                    f"negatives={negatives} asks for more; lower negatives"
                )
        self.examples, self.steps, self.questions = examples, steps, questions
        self.negatives, self.seed = negatives, seed
        self.per_epoch = len(examples) // questions
        if negatives == 0:  # with some, each question has at least its own
            self._check_in_batch_negatives()

    def _check_in_batch_negatives(self) -> None:
        for step in range(self.steps):
            batch = self[step]
            drawn = {group[0] for group in batch.groups}
            for question, known in zip(batch.questions, batch.positives, strict=True):
                if drawn <= known:
                    raise TrainingError(
                        f"step {step + 1}: question {question!r} has no negative, as all passages of its "
                        "batch are relevant to it; set negatives to 1 or more"
                    )

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> StepBatch:
        if not 0 <= step < self.steps:
            raise IndexError(step)
        epoch, place = divmod(step, self.per_epoch)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.examples))
        chosen = order[place * self.questions : (place + 1) * self.questions]
        batch = StepBatch([], [], [])
        for number in chosen:
            example = self.examples[number]
            draw = np.random.default_rng([self.seed, epoch, int(number)])
            positive = int(draw.integers(len(example.positives)))
            picked = draw.permutation(len(example.negatives))[: self.negatives]
            batch.questions.append(example.question)
            batch.ids.append(example.id)
            batch.groups.append([example.positives[positive], *(example.negatives[i] for i in picked)])
            batch.positives.append(frozenset(example.positives))
            scored = bool(example.positive_scores)
            batch.scores.append(
                [example.positive_scores[positive], *(example.negative_scores[i] for i in picked)]
                if scored
                else []
            )
        return batch
