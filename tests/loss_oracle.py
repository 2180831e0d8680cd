"""What the losses mean, spelled out entry by entry, so that autograd gives their gradients too."""

from collections.abc import Callable

import torch
from torch import Tensor


def distribution(scores: Tensor, kept: Tensor, temperature: float) -> dict[int, Tensor]:
    """Softmax of one row over its kept places alone."""
    powers = {j: (scores[j] / temperature).exp() for j in range(len(scores)) if kept[j]}
    total = sum(powers.values())
    return {j: power / total for j, power in powers.items()}


def divergence(p: dict[int, Tensor], q: dict[int, Tensor]) -> Tensor:
    """``KL(P || Q)``."""
    return sum((p[j] * (p[j] / q[j]).log() for j in p), torch.zeros((), dtype=torch.float64))


def mean(values: list[Tensor]) -> Tensor:
    """Zero where there is nothing."""
    return torch.stack(values).mean() if values else torch.zeros((), dtype=torch.float64)


def lists(seed: int, questions: int = 4, length: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Two tables of scores and a mask whose first column is always kept."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(questions, length, generator=generator, dtype=torch.float64)
    second = torch.randn(questions, length, generator=generator, dtype=torch.float64)
    kept = torch.rand(questions, length, generator=generator) > 0.3
    kept[:, 0] = True
    return first, second, kept


def padded(table: Tensor, columns: int, value: float | bool) -> Tensor:
    """``columns`` more at the right."""
    return torch.nn.functional.pad(table, (0, columns), value=value)


def value_and_gradients(
    function: Callable[..., Tensor], *inputs: Tensor
) -> tuple[Tensor, list[Tensor | None]]:
    """The value, and the gradient for each input (None where there is none)."""
    fresh = [one.clone().requires_grad_() for one in inputs]
    value = function(*fresh)
    value.backward()
    return value.detach(), [one.grad for one in fresh]


def same(ours: tuple[Tensor, list[Tensor | None]], oracle: tuple[Tensor, list[Tensor | None]]) -> None:
    """Equal values and gradients; no gradient counts as a gradient of zero."""
    torch.testing.assert_close(ours[0], oracle[0])
    for found, expected in zip(ours[1], oracle[1], strict=True):
        if found is None or expected is None:
            other = expected if found is None else found
            assert other is None or other.abs().max() == 0
        else:
            torch.testing.assert_close(found, expected)
