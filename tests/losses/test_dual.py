"""Dual regularization against its definition: symmetric, and both passes learn."""

import pytest
import torch
from torch import Tensor

from ernie_search.losses import dual_regularization
from loss_oracle import distribution, divergence, lists, mean, padded, same, value_and_gradients


def spelled_out(first: Tensor, second: Tensor, allowed: Tensor) -> Tensor:
    rows = []
    for a, b, kept in zip(first, second, allowed, strict=True):
        if kept.any():
            p, q = distribution(a, kept, 0.6), distribution(b, kept, 0.6)
            rows.append((divergence(p, q) + divergence(q, p)) / 2)
    return mean(rows)


def loss(first: Tensor, second: Tensor, allowed: Tensor) -> Tensor:
    return dual_regularization(first, second, allowed, temperature=0.6)


@pytest.mark.parametrize("seed", range(3))
def test_values_and_gradients_equal_the_definition(seed: int) -> None:
    first, second, allowed = lists(seed)
    ours = value_and_gradients(lambda a, b: loss(a, b, allowed), first, second)
    same(ours, value_and_gradients(lambda a, b: spelled_out(a, b, allowed), first, second))
    for gradient in ours[1]:
        assert gradient is not None
        assert gradient[allowed].abs().sum() > 0
        assert gradient[~allowed].abs().sum() == 0
    torch.testing.assert_close(loss(second, first, allowed), ours[0])


def test_equal_passes_agree() -> None:
    first, _, allowed = lists(3)
    assert loss(first, first, allowed).item() == 0


@pytest.mark.parametrize("filler", [0.0, 1e4, float("nan"), float("inf")])
def test_padding_changes_nothing(filler: float) -> None:
    first, second, allowed = lists(4)
    longer = loss(padded(first, 2, filler), padded(second, 2, filler), padded(allowed, 2, False))
    torch.testing.assert_close(longer, loss(first, second, allowed))


@pytest.mark.parametrize("shape", [(0, 3), (2, 1), (2, 3)])
def test_one_candidate_or_none_is_no_loss(shape: tuple[int, int]) -> None:
    allowed = torch.zeros(shape, dtype=torch.bool)
    allowed[:, :1] = shape[1] == 1
    value, gradients = value_and_gradients(
        lambda a, b: loss(a, b, allowed), torch.randn(shape), torch.randn(shape)
    )
    assert value.item() == 0
    assert all(one is not None and one.abs().sum() == 0 for one in gradients)
