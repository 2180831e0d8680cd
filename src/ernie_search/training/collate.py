"""From a step's texts to length-sorted micro-batches of token ids."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ernie_search.losses import Candidates, candidates
from ernie_search.model import JointEncoder
from ernie_search.model.encode import PADDING, micro_batches, padded, tokenize
from ernie_search.training.batches import StepBatch
from ernie_search.training.world import World
from ernie_search.types import Task


@dataclass(slots=True)
class Collator:
    """Tokenizes a step: its questions and its passages, each in micro-batches under the token budget.

    Padding then costs next to nothing: at length 256 a plain padded SQuAD batch is a third padding.

    Attributes:
        model: for its tokenizer, prompts and lengths.
        passages: text of every passage id that a step may name.
        token_budget: padded tokens a micro-batch.
        with_pairs: hand on the texts of each question and its positive, for the cross-encoder's own pass.
        padding: share of a large micro-batch that may be padding; 1 where its readers pack it.
        world: the ranks that share a step: each tokenizes its own questions and its own distinct passages,
            and knows by their ids who is whose candidate in the whole step.
    """

    model: JointEncoder
    passages: Mapping[str, str]
    token_budget: int
    with_pairs: bool = False
    padding: float = PADDING
    world: World = field(default_factory=World)

    def __call__(self, items: list[StepBatch]) -> dict[str, Any]:
        """One step (the loader's batch size is one step); ``truncated``: how many texts were cut, by task."""
        (step,) = items
        who: Candidates = candidates(step.groups, step.no_negatives)
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
            "truncated": {"query": cut_questions, "passage": cut_passages},
        }
        if step.scores and all(step.scores):
            features["cross_scores"] = torch.tensor(step.scores)
        if self.with_pairs:
            firsts = [group[0] for group in step.groups[mine]]
            known = zip(step.positives[mine], step.questions[mine], firsts, strict=True)
            features["pairs"] = [(positives, text, self.passages[first]) for positives, text, first in known]
        return features

    def _parts(self, texts: list[str], task: Task) -> tuple[list[dict[str, Tensor]], Tensor, int]:
        tokenized = tokenize(self.model, texts, task)
        pad = self.model.tokenizer.pad_token_id or 0
        groups = list(micro_batches([len(ids) for ids in tokenized.ids], self.token_budget, self.padding))
        parts = [padded([tokenized.ids[i] for i in group], pad, tokenized.prompt_length) for group in groups]
        order = torch.tensor([place for group in groups for place in group], dtype=torch.long)
        return parts, order, tokenized.truncated
