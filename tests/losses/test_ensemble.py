"""Ensemble self-distillation against its definition: each reading learns from the sum, the sum from none."""

import pytest
import torch
from torch import Tensor

from ernie_search.losses import Ensembled, ensemble_distillation
from loss_oracle import distribution, divergence, lists, mean, padded, same, value_and_gradients


def ensembled(late: Tensor, dense: Tensor, allowed: Tensor) -> Ensembled:
    return ensemble_distillation(
        late, dense, allowed, late_temperature=0.3, dense_temperature=0.8, late_weight=1.5, dense_weight=0.4
    )


def spelled_out(late: Tensor, dense: Tensor, allowed: Tensor, reading: str) -> Tensor:
    rows = []
    for li, de, kept in zip(late, dense, allowed, strict=True):
        if kept.any():
            together = (1.5 * li / 0.3 + 0.4 * de / 0.8).detach()
            student = distribution(li, kept, 0.3) if reading == "late" else distribution(de, kept, 0.8)
            rows.append(divergence(distribution(together, kept, 1.0), student))
    return mean(rows)


@pytest.mark.parametrize("reading", ["late", "dense"])
@pytest.mark.parametrize("seed", range(3))
def test_values_and_gradients_equal_the_definition(seed: int, reading: str) -> None:
    late, dense, allowed = lists(seed)
    allowed[1] = False
    ours = value_and_gradients(lambda a, b: getattr(ensembled(a, b, allowed), reading), late, dense)
    same(ours, value_and_gradients(lambda a, b: spelled_out(a, b, allowed, reading), late, dense))
    taught, other = ours[1] if reading == "late" else reversed(ours[1])
    assert other is None  # as a teacher it gets nothing
    assert taught is not None
    assert taught[~allowed].abs().sum() == 0


def test_the_entropy_is_the_sums() -> None:
    late, dense, allowed = lists(4)
    rows = [
        distribution(1.5 * li / 0.3 + 0.4 * de / 0.8, kept, 1.0)
        for li, de, kept in zip(late, dense, allowed, strict=True)
    ]
    expected = mean([-sum(p * p.log() for p in row.values()) for row in rows])
    torch.testing.assert_close(ensembled(late, dense, allowed).teacher_entropy, expected)


@pytest.mark.parametrize("filler", [0.0, 1e4, float("nan")])
def test_padding_changes_nothing(filler: float) -> None:
    late, dense, allowed = lists(5)
    plain = ensembled(late, dense, allowed)
    longer = ensembled(padded(late, 2, filler), padded(dense, 2, filler), padded(allowed, 2, False))
    for name in ("late", "dense", "teacher_entropy"):
        torch.testing.assert_close(getattr(longer, name), getattr(plain, name))


@pytest.mark.parametrize("shape", [(0, 3), (2, 1), (2, 3)])
def test_one_candidate_or_none_is_no_loss(shape: tuple[int, int]) -> None:
    allowed = torch.zeros(shape, dtype=torch.bool)
    allowed[:, :1] = shape[1] == 1
    found = ensembled(torch.randn(shape), torch.randn(shape), allowed)
    assert (found.late.item(), found.dense.item(), found.teacher_entropy.item()) == (0, 0, 0)
