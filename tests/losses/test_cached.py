"""Scores of cached passages: the definition, passage by passage, and a gradient for the question alone."""

import pytest
import torch
from torch import Tensor

from ernie_search.losses import CachedPassages


def cached(seed: int = 0) -> tuple[CachedPassages, list[Tensor]]:
    """Five passages of 1 to 6 tokens, on the lists of three questions; and each one's token matrix."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([3, 1, 6, 2, 4])
    tokens = torch.randn(int(lengths.sum()), 8, generator=generator).half()
    single = torch.randn(5, 4, generator=generator).half()
    rows = torch.tensor([[0, 2], [4, 1], [3, 0]])
    return CachedPassages(rows, single, tokens, lengths.cumsum(0) - lengths, lengths), list(
        tokens.split(lengths.tolist())
    )


def questions() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    return torch.randn(3, 3, 8, generator=generator, dtype=torch.float64), mask


@pytest.mark.parametrize("weighted", [False, True])
def test_late_scores_and_gradients_are_those_of_the_definition(weighted):
    passages, matrices = cached()
    queries, mask = questions()
    token_weights = torch.tensor([[1.0, 3.0, 9.0], [2.0, 0.0, 1.0], [5.0, 1.0, 1.0]], dtype=torch.float64)
    ours, theirs = queries.clone().requires_grad_(), queries.clone().requires_grad_()
    found = passages.late(ours, mask, token_weights if weighted else None)
    rows = []
    for question in range(3):
        scores = []
        for passage in passages.rows[question].tolist():
            total, worth = torch.zeros((), dtype=torch.float64), 0.0
            for token in range(3):
                if mask[question, token]:
                    weight = float(token_weights[question, token]) if weighted else 1.0
                    products = matrices[passage].double() @ theirs[question, token]
                    total, worth = total + weight * products.max(), worth + weight
            scores.append(total / worth)
        rows.append(torch.stack(scores))
    expected = torch.stack(rows)
    torch.testing.assert_close(found, expected)
    worths = torch.tensor([[1.0, -2.0], [0.5, 3.0], [2.0, 1.0]], dtype=torch.float64)
    (found * worths).sum().backward()
    (expected * worths).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_weights_of_question_tokens_get_their_gradient():
    passages, _ = cached()
    queries, mask = questions()
    weights = (torch.rand(3, 3, dtype=torch.float64) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda one: passages.late(queries, mask, one), weights)


def test_dense_scores_are_products_with_each_questions_own_passages():
    passages, _ = cached()
    vectors = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    found = passages.dense(vectors)
    for question in range(3):
        for place, passage in enumerate(passages.rows[question].tolist()):
            torch.testing.assert_close(
                found[question, place], vectors[question] @ passages.cls[passage].double()
            )
    found.sum().backward()
    assert vectors.grad is not None
    assert passages.cls.grad is None


def test_without_token_vectors_there_is_no_late_score():
    passages, _ = cached()
    single = CachedPassages(passages.rows, passages.cls, None, passages.starts, passages.lengths)
    with pytest.raises(ValueError, match="no token vectors are cached"):
        single.late(*questions())
