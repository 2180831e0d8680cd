"""The listwise loss against the sum that its definition spells."""

import math

import pytest
import torch

from ernie_search.teacher.listwise import listwise


def test_listwise_is_the_cross_entropy_of_the_first():
    logits = torch.tensor([2.0, 1.0, -1.0, 0.5, 0.7], requires_grad=True)
    raw: dict[str, list[torch.Tensor]] = {"positive_first": [], "entropy": []}
    loss = listwise(logits, [3, 2], 0.5, raw)
    values = [4.0, 2.0, -2.0, 1.0, 1.4]
    expected = entropy = 0.0
    for row in (values[:3], values[3:]):
        total = sum(math.exp(value) for value in row)
        expected -= math.log(math.exp(row[0]) / total) / 2
        entropy -= sum(math.exp(v) / total * math.log(math.exp(v) / total) for v in row) / 2
    assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert raw["entropy"][0].item() == pytest.approx(entropy, abs=1e-6)
    assert raw["positive_first"][0].item() == 0.5
    loss.backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.sum().item() == pytest.approx(0, abs=1e-6)
