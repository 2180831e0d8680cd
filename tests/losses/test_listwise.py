"""Listwise distillation against its definition; the teacher is never taught."""

import pytest
import torch
from torch import Tensor

from ernie_search.losses import interaction_distillation, listwise_distillation
from loss_oracle import distribution, divergence, lists, mean, padded, same, value_and_gradients


def spelled_out(teacher: Tensor, student: Tensor, kept: Tensor) -> Tensor:
    return mean(
        [
            divergence(distribution(t.detach(), k, 0.7), distribution(s, k, 0.4))
            for t, s, k in zip(teacher, student, kept, strict=True)
            if k.sum() > 1  # one candidate is no choice
        ]
    )


def loss(teacher: Tensor, student: Tensor, kept: Tensor) -> Tensor:
    result = listwise_distillation(teacher, student, kept, teacher_temperature=0.7, student_temperature=0.4)
    return result.loss


@pytest.mark.parametrize("seed", range(4))
def test_values_and_gradients_equal_the_definition(seed: int) -> None:
    teacher, student, kept = lists(seed)
    kept[seed, :] = seed % 2 == 0  # a whole list, or a question without any
    kept[(seed + 1) % 4, 1:] = False  # one that kept its positive alone
    ours = value_and_gradients(lambda t, s: loss(t, s, kept), teacher, student)
    same(ours, value_and_gradients(lambda t, s: spelled_out(t, s, kept), teacher, student))
    assert ours[1][0] is None
    assert ours[1][1] is not None
    assert ours[1][1][~kept].abs().sum() == 0


def test_the_entropy_is_the_teachers() -> None:
    teacher, student, kept = lists(5)
    kept[1] = False
    kept[2, 1:] = False
    result = listwise_distillation(teacher, student, kept, teacher_temperature=0.7, student_temperature=0.4)
    rows = [distribution(t, k, 0.7) for t, k in zip(teacher, kept, strict=True) if k.sum() > 1]
    expected = mean([-sum(p * p.log() for p in row.values()) for row in rows])
    torch.testing.assert_close(result.teacher_entropy, expected)
    assert not result.teacher_entropy.requires_grad


@pytest.mark.parametrize("filler", [0.0, 1e4, -1e4, float("nan"), float("inf")])
def test_padding_changes_nothing_whatever_it_holds(filler: float) -> None:
    teacher, student, kept = lists(6)
    plain = value_and_gradients(lambda t, s: loss(t, s, kept), teacher, student)
    longer = value_and_gradients(
        lambda s: loss(padded(teacher, 3, filler), padded(s, 3, filler), padded(kept, 3, False)), student
    )
    torch.testing.assert_close(longer[0], plain[0])
    torch.testing.assert_close(longer[1][0], plain[1][1])


@pytest.mark.parametrize("shape", [(0, 4), (3, 1), (3, 4), (3, 0)])
def test_lists_of_one_or_none_teach_nothing(shape: tuple[int, int]) -> None:
    student = torch.zeros(shape, requires_grad=True)
    kept = torch.zeros(shape, dtype=torch.bool)
    kept[:, :1] = shape[1] == 1
    result = listwise_distillation(
        torch.randn(shape), student, kept, teacher_temperature=1.0, student_temperature=1.0
    )
    result.loss.backward()
    assert result.loss.item() == 0
    assert result.teacher_entropy.item() == 0
    assert student.grad is not None
    assert student.grad.abs().sum() == 0


def test_it_is_interaction_distillation_over_another_list() -> None:
    teacher, student, kept = lists(7)
    other = interaction_distillation(teacher, student, kept, teacher_temperature=0.7, student_temperature=0.4)
    torch.testing.assert_close(loss(teacher, student, kept), other.loss)
