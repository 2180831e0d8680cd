"""Attention distillation against its definition, token by token."""

import math

import pytest
import torch
from torch import Tensor

from ernie_search.losses import attention_means, attention_sums
from loss_oracle import distribution, divergence, same, value_and_gradients

TEMPERATURE = 0.3
Example = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def example(seed: int) -> Example:
    """Map and weights of three pairs, token vectors, masks; some pairs have next to no tokens."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    query_kept, passage_kept = draw(3, 4) > 0.3, draw(3, 5) > 0.3
    query_kept[:, 1] = True
    passage_kept[:, 2] = True
    attention = draw(3, 4, 5).masked_fill(~passage_kept[:, None, :], 0.0)
    attention = attention / attention.sum(dim=-1, keepdim=True)
    return attention, draw(3, 4), draw(3, 4, 6) - 0.5, draw(3, 5, 6) - 0.5, query_kept, passage_kept


def loss(attention: Tensor, weight: Tensor, queries: Tensor, passages: Tensor, *kept: Tensor) -> Tensor:
    return attention_means(attention_sums(attention, weight, queries, passages, *kept, TEMPERATURE)).loss


def spelled_out(
    attention: Tensor,
    weight: Tensor,
    queries: Tensor,
    passages: Tensor,
    query_kept: Tensor,
    passage_kept: Tensor,
) -> Tensor:
    attention, weight = attention.detach(), weight.detach()
    total, weights = torch.zeros((), dtype=torch.float64), 0.0
    for b in range(len(queries)):
        for i in range(queries.shape[1]):
            kept = [j for j in range(passages.shape[1]) if passage_kept[b, j]]
            mass = sum(float(attention[b, i, j]) for j in kept)
            if not query_kept[b, i] or mass == 0:
                continue
            products = torch.stack([queries[b, i] @ passage for passage in passages[b]])
            student = distribution(products, passage_kept[b], TEMPERATURE)
            teacher = {j: attention[b, i, j] / mass for j in kept if attention[b, i, j] > 0}
            total = total + float(weight[b, i]) * divergence(teacher, student)
            weights += float(weight[b, i])
    return total / weights


@pytest.mark.parametrize("seed", range(4))
def test_values_and_gradients_equal_the_definition(seed: int) -> None:
    attention, weight, queries, passages, *kept = example(seed)
    attention[0, 1] = torch.eye(5, dtype=torch.float64)[2]  # one-hot: 0 log 0
    inputs = (attention, weight, queries, passages)
    ours = value_and_gradients(lambda *given: loss(*given, *kept), *inputs)
    same(ours, value_and_gradients(lambda *given: spelled_out(*given, *kept), *inputs))
    assert ours[1][:2] == [None, None]
    assert all(gradient is not None for gradient in ours[1][2:])


@pytest.mark.parametrize("seed", range(4))
def test_entropies_are_those_of_both_distributions_weighted_alike(seed: int) -> None:
    attention, weight, queries, passages, query_kept, passage_kept = example(seed)
    found = attention_means(
        attention_sums(attention, weight, queries, passages, query_kept, passage_kept, TEMPERATURE)
    )
    sums, whole = [0.0, 0.0], 0.0
    for b, i in query_kept.nonzero().tolist():
        kept = passage_kept[b].nonzero().flatten().tolist()
        products = torch.stack([queries[b, i] @ passage for passage in passages[b]])
        student = distribution(products, passage_kept[b], TEMPERATURE)
        mass = sum(float(attention[b, i, j]) for j in kept)
        teacher = [float(attention[b, i, j]) / mass for j in kept]
        for side, row in enumerate((teacher, [float(value) for value in student.values()])):
            sums[side] -= float(weight[b, i]) * sum(value * math.log(value) for value in row)
        whole += float(weight[b, i])
    assert found.teacher_entropy.item() == pytest.approx(sums[0] / whole)
    assert found.student_entropy.item() == pytest.approx(sums[1] / whole)


def test_tokens_that_are_left_out_leave_both_sides() -> None:
    attention, weight, queries, passages, query_kept, passage_kept = example(5)
    passage_kept = passage_kept.clone()
    passage_kept[:, 4] = False
    passage_kept[0] = False  # nothing to look at: its rows don't count
    query_kept = query_kept.clone()
    query_kept[1, 0] = False
    kept = (query_kept, passage_kept)
    ours = value_and_gradients(lambda q, p: loss(attention, weight, q, p, *kept), queries, passages)
    same(
        ours, value_and_gradients(lambda q, p: spelled_out(attention, weight, q, p, *kept), queries, passages)
    )
    assert ours[1][0] is not None
    assert ours[1][1] is not None
    assert ours[1][0][~query_kept].abs().sum() == 0
    assert ours[1][1][~passage_kept].abs().sum() == 0
    # Nor does it matter what stands there.
    other_map = torch.where(passage_kept[:, None, :], attention, 0.9)
    other_passages = torch.where(passage_kept[:, :, None], passages, 7.0)
    torch.testing.assert_close(loss(other_map, weight, queries, other_passages, *kept), ours[0])


def test_padding_changes_nothing() -> None:
    attention, weight, queries, passages, query_kept, passage_kept = example(6)
    pad = torch.nn.functional.pad
    longer = loss(
        pad(attention, (0, 3, 0, 2)),
        pad(weight, (0, 2)),
        pad(queries, (0, 0, 0, 2)),
        pad(passages, (0, 0, 0, 3)),
        pad(query_kept, (0, 2)),
        pad(passage_kept, (0, 3)),
    )
    torch.testing.assert_close(longer, loss(attention, weight, queries, passages, query_kept, passage_kept))


def test_a_student_that_attends_alike_has_nothing_to_learn() -> None:
    _, weight, queries, passages, query_kept, passage_kept = example(7)
    products = (queries @ passages.transpose(1, 2) / TEMPERATURE).masked_fill(
        ~passage_kept[:, None, :], float("-inf")
    )
    found = loss(products.softmax(dim=-1), weight, queries, passages, query_kept, passage_kept)
    assert found.item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("missing", ["pairs", "question", "passage", "weight"])
def test_nothing_to_show_is_no_loss(missing: str) -> None:
    attention, weight, queries, passages, query_kept, passage_kept = example(8)
    if missing == "pairs":
        attention, weight, queries = attention[:0], weight[:0], queries[:0]
        passages, query_kept, passage_kept = passages[:0], query_kept[:0], passage_kept[:0]
    elif missing == "question":
        query_kept = torch.zeros_like(query_kept)
    elif missing == "passage":
        passage_kept = torch.zeros_like(passage_kept)
    else:
        weight = torch.zeros_like(weight)
    value, gradients = value_and_gradients(
        lambda q, p: loss(attention, weight, q, p, query_kept, passage_kept), queries, passages
    )
    assert value.item() == 0
    assert all(one is not None and one.abs().sum() == 0 for one in gradients)
