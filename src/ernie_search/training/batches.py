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

    @property
    def no_negatives(self) -> list[frozenset[str]]:
        """For each question the passages that are no negatives of it: its known positives, and the passage
        with its own id, which is the question itself where questions are passages (ArguAna, Quora)."""
        ids = self.ids or [""] * len(self.questions)
        return [known | {one} if one else known for known, one in zip(self.positives, ids, strict=True)]


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
        if not examples:
            raise TrainingError("there is no training question; use lists of this collection's train split")
        if len(examples) < questions:
            more = " and negatives to 1 or more" if len(examples) < 2 and negatives == 0 else ""
            raise TrainingError(
                f"{len(examples)} training questions are fewer than questions_per_batch={questions}; "
                f"set questions_per_batch to {len(examples)} or less{more}"
            )
        self.examples, self.steps, self.questions = examples, steps, questions
        self.negatives, self.seed = negatives, seed
        self.per_epoch = len(examples) // questions
        poorest = min(examples, key=lambda example: len(example.negatives))
        fewest = len(poorest.negatives)
        # A way out is named only if it is one: what it would be refused for is looked at here, too.
        alone = self._without_in_batch_negatives() if min(negatives, fewest) == 0 else None
        leave_out = "add passages to the corpus that are not relevant to it, or leave the question out"
        if fewest < negatives:
            advice = f"lower negatives to {fewest}"
            if fewest == 0:
                in_batch = "set negatives to 0 (then no term may need a cross-encoder's scores), or "
                advice = leave_out if alone else f"{in_batch}{leave_out}"
            raise TrainingError(
                f"question {poorest.question!r} has {fewest} negatives, negatives={negatives} asks for more; "
                f"{advice}"
            )
        if negatives == 0 and alone:  # with some, each question has at least its own
            step, question = alone
            raise TrainingError(
                f"step {step + 1}: question {question!r} has no negative, as all passages of its "
                f"batch are relevant to it; {'set negatives to 1 or more' if fewest else leave_out}"
            )

    def _without_in_batch_negatives(self) -> tuple[int, str] | None:
        """The first step and question that have no negative among the other questions' positives."""
        for step in range(self.steps):
            batch = self[step]
            drawn = {group[0] for group in batch.groups}
            for question, known in zip(batch.questions, batch.no_negatives, strict=True):
                if drawn <= known:
                    return step, question
        return None

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
