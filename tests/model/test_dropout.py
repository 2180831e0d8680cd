"""Dropout by the byte is dropout: same rate, same mean, same gradient rule."""

import math

import pytest
import torch
from torch import nn

from ernie_search.model.dropout import ByteDropout, use_byte_dropout

COUNT = 400_000


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        yield


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5, 0.9])
def test_the_rate_is_the_nearest_256th_and_the_mean_stays(rate):
    result = ByteDropout(rate)(torch.ones(COUNT))
    exact = round(rate * 256) / 256
    kept = result != 0
    dropped = 1 - kept.double().mean().item()
    deviation = math.sqrt(exact * (1 - exact) / COUNT)
    assert abs(dropped - exact) < 5 * deviation
    torch.testing.assert_close(result[kept], torch.full_like(result[kept], 1 / (1 - exact)))
    assert abs(result.double().mean().item() - 1) < 5 * deviation / (1 - exact)


def test_neighbours_are_dropped_independently():
    kept = (ByteDropout(0.25)(torch.ones(COUNT)) != 0).double()
    for shift in range(1, 10):  # eight neighbours share one 64-bit number
        together = torch.corrcoef(torch.stack([kept[shift:], kept[:-shift]]))[0, 1]
        assert abs(together) < 5 / math.sqrt(COUNT)


def test_the_gradient_goes_where_the_values_went():
    values = torch.randn(33, 7, requires_grad=True)
    result = ByteDropout(0.5)(values)
    weights = torch.randn(33, 7)
    (result * weights).sum().backward()
    mask = torch.where(result != 0, 2.0, 0.0)
    torch.testing.assert_close(values.grad, weights * mask)


def test_evaluation_and_rate_zero_change_nothing():
    values = torch.randn(5)
    assert ByteDropout(0.5).eval()(values) is values
    assert ByteDropout(0.0)(values) is values
    assert torch.equal(ByteDropout(1.0)(values), torch.zeros(5))


def test_a_seed_repeats_it():
    dropout, values = ByteDropout(0.5), torch.ones(1000)
    torch.manual_seed(1)
    one, other = dropout(values), dropout(values)
    torch.manual_seed(1)
    assert torch.equal(dropout(values), one)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("shape", [(0,), (1,), (3, 5), (2, 3, 5), ()])
def test_any_shape_passes(shape):
    values = torch.ones(shape)
    assert ByteDropout(0.5)(values).shape == values.shape


def test_views_and_low_precision_pass():
    values = torch.randn(8, 6, dtype=torch.bfloat16).t()
    result = ByteDropout(0.5)(values)
    assert (result.shape, result.dtype) == (values.shape, torch.bfloat16)
    assert torch.equal(result[result != 0], (values * 2)[result != 0])


def test_what_is_infinite_and_dropped_is_zero():
    values = torch.full((100,), math.inf, requires_grad=True)
    result = ByteDropout(0.5)(values)
    assert not result.isnan().any()
    assert (result == 0).any()


def test_only_plain_dropout_is_replaced():
    class Own(nn.Dropout):
        pass

    chain = nn.Sequential(nn.Dropout(0.1), nn.Sequential(nn.Dropout(0.3)), Own(0.2), nn.Linear(2, 2))
    use_byte_dropout(chain)
    assert [type(one) for one in (chain[0], chain[1][0], chain[2])] == [ByteDropout, ByteDropout, Own]
    assert chain[1][0].p == 0.3
