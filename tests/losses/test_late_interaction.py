"""MaxSim against the loop that its definition spells."""

import pytest
import torch
from torch import Tensor

from ernie_search.losses.late_interaction import maxsim


def spelled_out(queries: Tensor, query_mask: Tensor, passages: Tensor, passage_mask: Tensor) -> Tensor:
    rows = []
    for q in range(len(queries)):
        row = []
        for p in range(len(passages)):
            best = [
                torch.stack(
                    [queries[q, i] @ passages[p, j] for j in range(passages.shape[1]) if passage_mask[p, j]]
                ).max()
                for i in range(queries.shape[1])
                if query_mask[q, i]
            ]
            row.append(torch.stack(best).mean())
        rows.append(torch.stack(row))
    return torch.stack(rows)


def example(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
    passages = torch.randn(7, 6, 5, generator=generator, dtype=torch.float64)
    query_mask = torch.rand(3, 4, generator=generator) > 0.3
    passage_mask = torch.rand(7, 6, generator=generator) > 0.3
    query_mask[:, 0] = True
    passage_mask[:, 2] = True
    return queries, passages, query_mask, passage_mask


@pytest.mark.parametrize("chunk_elements", [1, 200, 1 << 21])
@pytest.mark.parametrize("seed", range(3))
def test_scores_and_gradients_equal_the_definition(
    seed: int, chunk_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ernie_search.losses.late_interaction.CHUNK_ELEMENTS", chunk_elements)
    queries, passages, query_mask, passage_mask = example(seed)
    weight = torch.randn(3, 7, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    results = []
    for function in (maxsim, spelled_out):
        q, p = queries.clone().requires_grad_(), passages.clone().requires_grad_()
        scores = function(q, query_mask, p, passage_mask)
        (scores * weight).sum().backward()
        results.append((scores.detach(), q.grad, p.grad))
    for ours, oracle in zip(*results, strict=True):
        torch.testing.assert_close(ours, oracle)


def test_gradcheck() -> None:
    queries, passages, query_mask, passage_mask = example(5)
    inputs = (queries.requires_grad_(), passages.requires_grad_())
    assert torch.autograd.gradcheck(lambda q, p: maxsim(q, query_mask, p, passage_mask), inputs)


def test_equals_sentence_transformers_mean_maxsim() -> None:
    from sentence_transformers.util.similarity import mean_maxsim

    queries, passages, query_mask, passage_mask = (
        value.float() if value.is_floating_point() else value for value in example(6)
    )
    theirs = mean_maxsim(queries, passages, query_mask, passage_mask)
    torch.testing.assert_close(maxsim(queries, query_mask, passages, passage_mask), theirs)


def test_a_masked_passage_token_never_wins() -> None:
    queries = torch.tensor([[[1.0, 0.0]]])
    passages = torch.tensor([[[0.2, 0.0], [9.0, 0.0]]])
    scores = maxsim(queries, torch.tensor([[True]]), passages, torch.tensor([[True, False]]))
    assert scores.item() == pytest.approx(0.2)
