"""Dev while training: a fixed sample of questions over a fixed small pool of passages, for both readings."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sentence_transformers.base.evaluation import BaseEvaluator

from ernie_search.evaluation import drop_self_hits, evaluate_run
from ernie_search.model import JointEncoder
from ernie_search.types import Qrels, Run

MEASURE = "MRR@10"


@dataclass(slots=True)
class DevSample:
    """What is measured on the way: questions, their qrels, and a pool that holds every positive.

    The pool is small, so its figures stand above those over the whole corpus; they only choose a checkpoint.
    """

    questions: dict[str, str]
    qrels: Qrels
    passages: dict[str, str]


class DevEvaluator(BaseEvaluator):
    """MRR@10 of the single vector and of late interaction over the dev sample."""

    def __init__(self, sample: DevSample, *, late: bool, bf16: bool | None = None) -> None:
        """``bf16``: the precision of the run; measured anew, a resumed run could choose another best."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.sample, self.late, self.bf16 = sample, late, bf16
        self.primary_metric = "late_mrr"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: float = -1, steps: int = -1
    ) -> dict[str, float]:
        """Scores by name, higher is better."""
        return self.measure(model)

    def measure(self, model: JointEncoder) -> dict[str, float]:
        """``{"dense_mrr": .., "late_mrr": ..}``; the second only where late interaction is trained."""
        sample = self.sample
        how: dict[str, Any] = {"tokens": self.late, "bf16": self.bf16}
        questions = model.encode_joint(list(sample.questions.values()), "query", **how)
        passages = model.encode_joint(list(sample.passages.values()), "passage", **how)
        scores = {"dense_mrr": self._mrr(questions.dense @ passages.dense.T)}
        if self.late:
            flat = np.concatenate(passages.tokens)
            starts = np.cumsum([0, *(len(matrix) for matrix in passages.tokens[:-1])])
            late = [
                np.maximum.reduceat(matrix @ flat.T, starts, axis=1).mean(axis=0)
                for matrix in questions.tokens
            ]
            scores["late_mrr"] = self._mrr(np.stack(late))
        return scores

    def _mrr(self, scores: np.ndarray[Any, Any]) -> float:
        names = list(self.sample.passages)
        run: Run = {}
        for question, row in zip(self.sample.questions, scores, strict=True):
            top = np.argsort(-row, kind="stable")[:11]  # one more, as the question itself may be there
            run[question] = {names[place]: float(row[place]) for place in top}
        run, _ = drop_self_hits(run, self.sample.qrels)
        return float(evaluate_run(self.sample.qrels, run, [MEASURE]).mean(MEASURE))
