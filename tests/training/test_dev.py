"""Dev on the way is measured as the evaluation measures."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ernie_search.training.prepare import DevEvaluator, DevSample

PASSAGES = {f"p{i}": f"passage {i}" for i in range(12)}


class Compass:
    """Every question has the first passage's direction, and the others follow it in order."""

    question_weights = None

    def encode_joint(self, texts, task, *, tokens, bf16):
        angles = np.zeros(len(texts)) if task == "query" else np.arange(len(texts)) / 20
        dense = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
        return SimpleNamespace(dense=dense, tokens=[row[None] for row in dense])


@pytest.mark.parametrize(
    ("question", "relevant", "expected"),
    [
        ("q", "p1", 1 / 2),
        ("p0", "p1", 1.0),  # the question is the first passage, which does not count
        ("p0", "p10", 1 / 10),
        ("p0", "p0", 1.0),  # unless it is judged relevant
        ("p4", "p3", 1 / 4),
    ],
)
def test_a_question_that_is_a_passage_does_not_find_itself(question, relevant, expected):
    sample = DevSample({question: "which?"}, {question: {relevant: 1}}, PASSAGES)
    found = DevEvaluator(sample, late=True).measure(Compass())
    assert found == {"dense_mrr": pytest.approx(expected), "late_mrr": pytest.approx(expected)}


class Weighted:
    """Questions of two tokens that point at different passages; the second counts nine times as much."""

    question_weights = torch.tensor([1.0, 9.0])

    def encode_joint(self, texts, task, *, tokens, bf16):
        axes = np.eye(2, dtype=np.float32)
        matrices = [axes] * len(texts) if task == "query" else [axes[i : i + 1] for i in range(len(texts))]
        dense = np.stack([matrix[0] for matrix in matrices])
        return SimpleNamespace(dense=dense, tokens=matrices, token_ids=[np.array([0, 1])] * len(texts))


def test_late_interaction_is_measured_under_the_weights_that_it_is_trained_under():
    sample = DevSample({"q": "which?"}, {"q": {"p1": 1}}, {"p0": "first", "p1": "second"})
    assert DevEvaluator(sample, late=True).measure(Weighted())["late_mrr"] == pytest.approx(1.0)
    sample = DevSample({"q": "which?"}, {"q": {"p0": 1}}, {"p0": "first", "p1": "second"})
    assert DevEvaluator(sample, late=True).measure(Weighted())["late_mrr"] == pytest.approx(1 / 2)
