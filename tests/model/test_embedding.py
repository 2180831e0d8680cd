"""Embeddings that add their gradient in place have torch's own gradient, to the bit."""

import pytest
import torch
from torch import Tensor, nn

from ernie_search.model.embedding import LARGE, AddingEmbedding, use_adding_embeddings

ROWS, WIDTH, PADDING = LARGE + 3, 4, 0


def table(padding: int | None = PADDING, **options: object) -> nn.Embedding:
    torch.manual_seed(1)
    return nn.Embedding(ROWS, WIDTH, padding_idx=padding, **options)


def adding(padding: int | None = PADDING) -> nn.Embedding:
    made = table(padding)
    use_adding_embeddings(nn.Sequential(made))
    assert type(made) is AddingEmbedding
    return made


def micro_batches() -> list[tuple[Tensor, Tensor]]:
    """Ids that repeat within and between, with padding, and what a loss gives back for each."""
    generator = torch.Generator().manual_seed(2)
    shapes = [(3, 7), (1, 5), (4, 2)]
    ids = [torch.randint(0, 9, shape, generator=generator) for shape in shapes]
    return [(one, torch.randn(*one.shape, WIDTH, generator=generator)) for one in ids]


@pytest.mark.parametrize("padding", [PADDING, None])
def test_the_gradient_of_several_micro_batches_is_torchs_own(padding):
    ours, theirs = adding(padding), table(padding)
    for ids, worth in micro_batches():
        assert torch.equal(ours(ids), theirs(ids))
        for one in (ours, theirs):
            one(ids).backward(worth)
    assert torch.equal(ours.weight.grad, theirs.weight.grad)
    assert (ours.weight.grad[0].abs().sum() == 0) == (padding == 0)


def test_steps_add_up_and_an_optimizer_sees_the_gradient():
    ours, theirs = adding(), table()
    for one in (ours, theirs):
        optimizer = torch.optim.AdamW(one.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            for ids, worth in micro_batches():
                one(ids).backward(worth)
            nn.utils.clip_grad_norm_(one.parameters(), 0.5)
            optimizer.step()
    assert torch.equal(ours.weight, theirs.weight)


def test_one_graph_over_all_micro_batches_gives_the_same():
    ours, theirs = adding(), table()
    for one in (ours, theirs):
        sum((one(ids) * worth).sum() for ids, worth in micro_batches()).backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad)


def test_without_a_gradient_it_is_a_plain_lookup():
    ours = adding()
    with torch.no_grad():
        assert not ours(torch.tensor([1])).requires_grad
    ours.weight.requires_grad_(False)
    assert not ours(torch.tensor([1])).requires_grad


def test_small_tables_and_unusual_ones_stay_as_they_are():
    kept = [nn.Embedding(LARGE - 1, WIDTH), table(max_norm=1.0), table(scale_grad_by_freq=True)]
    kept.append(table(sparse=True))
    use_adding_embeddings(nn.ModuleList(kept))
    assert {type(one) for one in kept} == {nn.Embedding}
