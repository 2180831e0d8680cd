"""The batches of a training, as a function of the seed alone: each step's questions, positives, negatives.

Nothing depends on what was drawn before, so a resumed training has the same steps as an uninterrupted one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ernie_search.errors import TrainingError
from ernie_search.losses import Candidates, candidates
from ernie_search.losses.copies import copies
from ernie_search.model import JointEncoder
from ernie_search.model.encode import padded, tokenize
from ernie_search.runtime.batches import micro_batches
from ernie_search.training.world import World
from ernie_search.types import Task


@dataclass(frozen=True, slots=True)
class Example:
    """A training question with all its known positives and the negatives to draw from.

    Attributes:
        question: text.
        positives, negatives: passage ids.
        positive_scores, negative_scores: a cross-encoder's logits, one per passage; () without scores.
        id: question id.
        kept: for each negative, whether the contrastive terms may use it; one that was denoised they may not.
            () where they may use all.
    """

    question: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    positive_scores: tuple[float, ...] = ()
    negative_scores: tuple[float, ...] = ()
    id: str = ""
    kept: tuple[bool, ...] = ()

    @property
    def denoised(self) -> frozenset[str]:
        """The negatives that no contrastive term may use."""
        if not self.kept:
            return frozenset()
        return frozenset(one for one, kept in zip(self.negatives, self.kept, strict=True) if not kept)

    def draw(self, order: Sequence[int], negatives: int, listed: int) -> tuple[list[int], list[int]]:
        """Places of the negatives of a step: those of the group, and those that only the list terms see.

        The group gets negatives that the contrastive terms may use, and denoised ones only where those are
        too few. The others are of the whole list, denoised or not, as far as it reaches.

        Args:
            order: all places, in the order in which they are drawn.
            negatives: of the group.
            listed: at most so many others.
        """
        first = [place for place in order if not self.kept or self.kept[place]]
        last = [place for place in order if self.kept and not self.kept[place]]
        group = [*first, *last][:negatives]
        taken = set(group)
        return group, [place for place in order if place not in taken][:listed]


@dataclass(frozen=True, slots=True)
class StepBatch:
    """The texts of one step: Q questions, and Q groups of ``1 + n`` passage ids, the positive first.

    Attributes:
        questions, ids: texts and ids.
        groups: passage ids.
        positives: all known positives of each question.
        scores: a cross-encoder's logits for each group; empty lists without scores.
        denoised: each question's negatives that no contrastive term may use.
        listed: further passages of each question's list, whose cached vectors the list terms see.
        listed_scores: a cross-encoder's logits for them; empty lists without scores.
        step: which step of the training it is, from 0.
    """

    questions: list[str]
    groups: list[list[str]]
    positives: list[frozenset[str]]
    scores: list[list[float]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    denoised: list[frozenset[str]] = field(default_factory=list)
    listed: list[list[str]] = field(default_factory=list)
    listed_scores: list[list[float]] = field(default_factory=list)
    step: int = 0

    @property
    def no_negatives(self) -> list[frozenset[str]]:
        """For each question the passages that must not be its negatives.

        They are its known positives, and the passage with its own id, which is the question itself where
        questions are passages (ArguAna, Quora).
        """
        ids = self.ids or [""] * len(self.questions)
        return [known | {one} if one else known for known, one in zip(self.positives, ids, strict=True)]


class StepBatches(Dataset[StepBatch]):
    """Batches by step: each epoch is a new permutation, and no question comes twice in a step."""

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        steps: int,
        questions: int,
        negatives: int,
        seed: int,
        listed: int = 0,
        contrastive: bool = True,
    ) -> None:
        """Check that every step can be filled.

        Args:
            examples: to draw from.
            steps: of the training.
            questions: of a step.
            negatives: of each question's group.
            seed: of the draw.
            listed: further passages of each question's list, at most.
            contrastive: whether any term needs negatives that are not denoised.

        Raises:
            TrainingError: fewer questions than a batch, a question with too few negatives, one whose whole
                batch is relevant to it or denoised, or no list that is longer than a group.
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
        self.negatives, self.seed, self.listed = negatives, seed, listed
        self.per_epoch = len(examples) // questions
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))
        for example in examples:
            if example.kept and len(example.kept) != len(example.negatives):
                raise TrainingError(
                    f"question {example.question!r} has {len(example.negatives)} negatives and "
                    f"{len(example.kept)} flags of which are kept; denoise its list again"
                )
        self._check_negatives()
        if contrastive:
            self._check_denoised()
        longest = max(len(example.negatives) for example in examples)
        if listed and longest <= negatives:
            raise TrainingError(
                f"list_passages={listed}, and no list has more than {longest} negatives, of which a step "
                f"shows negatives={negatives} in the question's group; make longer lists (without lists: "
                "widen negative_last), lower negatives, or set list_passages to 0"
            )

    def _check_negatives(self) -> None:
        poorest = min(self.examples, key=lambda example: len(example.negatives))
        fewest = len(poorest.negatives)
        # Only a remedy that would not be refused itself is named.
        alone = self._without_in_batch_negatives() if min(self.negatives, fewest) == 0 else None
        leave_out = "add passages to the corpus that are not relevant to it, or leave the question out"
        if fewest < self.negatives:
            advice = f"lower negatives to {fewest}"
            if fewest == 0:
                in_batch = "set negatives to 0 (then no term may need a cross-encoder's scores), or "
                advice = leave_out if alone else f"{in_batch}{leave_out}"
            raise TrainingError(
                f"question {poorest.question!r} has {fewest} negatives, negatives={self.negatives} asks for "
                f"more; {advice}"
            )
        if self.negatives == 0 and alone:  # with some, each question has at least its own
            step, question = alone
            raise TrainingError(
                f"step {step + 1}: question {question!r} has no negative, as all passages of its "
                f"batch are relevant to it; {'set negatives to 1 or more' if fewest else leave_out}"
            )

    def _without_in_batch_negatives(self) -> tuple[int, str] | None:
        """The first step and question without a negative among the other questions' positives."""
        for step in range(self.steps):
            batch = self[step]
            drawn = {group[0] for group in batch.groups}
            for question, known in zip(batch.questions, batch.no_negatives, strict=True):
                if drawn <= known:
                    return step, question
        return None

    def _check_denoised(self) -> None:
        """Refuse a step in which all of a question's candidates are relevant to it, or denoised."""
        some = any(not all(example.kept) for example in self.examples)
        if not some or (self.negatives and all(not one.kept or any(one.kept) for one in self.examples)):
            return
        for step in range(self.steps):
            batch = self[step]
            drawn = {passage for group in batch.groups for passage in group}
            rows = zip(batch.questions, batch.no_negatives, batch.denoised, strict=True)
            for question, known, denoised in rows:
                if denoised and drawn <= known | denoised:
                    raise TrainingError(
                        f"step {step + 1}: question {question!r} has no negative for the contrastive terms, "
                        "as all passages of its batch are relevant to it or denoised; denoise with another "
                        "limit, set dense_weight and late_weight to 0, or leave the question out"
                    )

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> StepBatch:
        if not 0 <= step < self.steps:
            raise IndexError(step)
        epoch, place = divmod(step, self.per_epoch)
        chosen = self._permutation(epoch)[place * self.questions : (place + 1) * self.questions]
        batch = StepBatch([], [], [], step=step)
        for number in chosen:
            example = self.examples[number]
            draw = np.random.default_rng([self.seed, epoch, int(number)])
            positive = int(draw.integers(len(example.positives)))
            drawn = draw.permutation(len(example.negatives)).tolist()
            picked, listed = example.draw(drawn, self.negatives, self.listed)
            batch.questions.append(example.question)
            batch.ids.append(example.id)
            batch.groups.append([example.positives[positive], *(example.negatives[i] for i in picked)])
            batch.positives.append(frozenset(example.positives))
            batch.denoised.append(example.denoised)
            batch.listed.append([example.negatives[i] for i in listed])
            scored = bool(example.positive_scores)
            batch.scores.append(
                [example.positive_scores[positive], *(example.negative_scores[i] for i in picked)]
                if scored
                else []
            )
            batch.listed_scores.append([example.negative_scores[i] for i in listed] if scored else [])
        return batch

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        """The order of an epoch's questions; kept, as a step needs a small part of it."""
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.examples)))
        return self._order[1]


@dataclass(slots=True)
class Collator:
    """Collates a step: its questions and its passages, tokenized, in micro-batches under the token budget.

    Sorted by length, they have little padding: at length 256 a plain padded SQuAD batch is a third padding.

    Attributes:
        model: for its tokenizer, prompts and lengths.
        passages: text of every passage of the steps, by id.
        token_budget: padded tokens in a micro-batch.
        with_pairs: pass on the texts of each question and its positive, for the cross-encoder's own pass.
        world: the ranks that share a step. Each tokenizes its share of the questions and of the distinct
            passages; the candidates of the whole step are known on all, by the passages' ids.
    """

    model: JointEncoder
    passages: Mapping[str, str]
    token_budget: int
    with_pairs: bool = False
    world: World = field(default_factory=World)

    def __call__(self, items: list[StepBatch]) -> dict[str, Any]:
        """Collate one step (the loader's batch size is one step); ``truncated`` counts cut texts by task."""
        (step,) = items
        who: Candidates = candidates(step.groups, step.no_negatives, step.denoised)
        # A passage that several groups show is encoded once, and its row used again.
        flat = [passage for group in step.groups for passage in group]
        distinct = list(dict.fromkeys(flat))
        places = {passage: place for place, passage in enumerate(distinct)}
        mine = self.world.share(len(step.questions))
        question_parts, question_order, cut_questions = self._parts(step.questions[mine], "query")
        texts = [self.passages[passage] for passage in distinct[self.world.share(len(distinct))]]
        passage_parts, passage_order, cut_passages = self._parts(texts, "passage")
        features = {
            "questions": question_parts,
            "question_order": question_order,
            "passages": passage_parts,
            "passage_order": passage_order,
            "columns": torch.tensor([places[passage] for passage in flat]),
            "positive": who.positive,
            "allowed": who.allowed,
            "own": who.own,
            "step": step.step,
            "truncated": {"query": cut_questions, "passage": cut_passages},
        }
        if who.denoised is not None:
            features["denoised"] = who.denoised
        copied = copies(step.questions, [self.passages[group[0]] for group in step.groups])
        if copied is not None:
            features["copied"] = copied
        if step.scores and all(step.scores):
            features["cross_scores"] = torch.tensor(step.scores)
        if any(step.listed):
            features |= _listed(step)
            features["listed"] = step.listed[mine]
        if self.with_pairs:
            firsts = [group[0] for group in step.groups[mine]]
            known = zip(step.positives[mine], step.questions[mine], firsts, strict=True)
            features["pairs"] = [(positives, text, self.passages[first]) for positives, text, first in known]
        return features

    def _parts(self, texts: list[str], task: Task) -> tuple[list[dict[str, Tensor]], Tensor, int]:
        tokenized = tokenize(self.model, texts, task)
        pad = self.model.tokenizer.pad_token_id or 0
        groups = list(micro_batches([len(ids) for ids in tokenized.ids], self.token_budget))
        parts = [padded([tokenized.ids[i] for i in group], pad, tokenized.prompt_length) for group in groups]
        order = torch.tensor([place for group in groups for place in group], dtype=torch.long)
        return parts, order, tokenized.truncated


def _listed(step: StepBatch) -> dict[str, Tensor]:
    """``(Q, M)`` masks and scores of the list passages, of M at most; NaN where there is no score."""
    longest = max(len(listed) for listed in step.listed)
    allowed = torch.zeros(len(step.listed), longest, dtype=torch.bool)
    scores = torch.full(allowed.shape, math.nan)
    out = torch.zeros_like(allowed)
    rows = zip(step.listed, step.listed_scores, step.no_negatives, step.denoised, strict=True)
    for row, (listed, known_scores, known, denoised) in enumerate(rows):
        out[row, : len(listed)] = torch.tensor([passage in denoised for passage in listed])
        allowed[row, : len(listed)] = torch.tensor([passage not in known for passage in listed])
        scores[row, : len(known_scores)] = torch.tensor(known_scores)
    return {"listed_allowed": allowed, "listed_denoised": out, "listed_scores": scores}
