"""MarginMSE against its definition and against sentence-transformers' own form."""

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MarginMSELoss
from torch import Tensor

from ernie_search.losses import margin_mse
from loss_oracle import lists, mean, padded, same, value_and_gradients


def spelled_out(teacher: Tensor, student: Tensor, kept: Tensor, scale: float) -> Tensor:
    errors = []
    for q in range(len(teacher)):
        for j in range(1, teacher.shape[1]):
            if kept[q, 0] and kept[q, j]:
                wanted = (teacher[q, 0] - teacher[q, j]).detach()
                errors.append((scale * student[q, 0] - scale * student[q, j] - wanted) ** 2)
    return mean(errors)


@pytest.mark.parametrize("scale", [1.0, 20.0])
@pytest.mark.parametrize("seed", range(3))
def test_values_and_gradients_equal_the_definition(seed: int, scale: float) -> None:
    teacher, student, kept = lists(seed)
    kept[0, 0] = False  # a question without its positive has no margin
    ours = value_and_gradients(lambda t, s: margin_mse(t, s, kept, student_scale=scale), teacher, student)
    same(ours, value_and_gradients(lambda t, s: spelled_out(t, s, kept, scale), teacher, student))
    assert ours[1][0] is None
    assert ours[1][1] is not None
    assert ours[1][1][0].abs().sum() == 0


@pytest.mark.parametrize("seed", range(3))
def test_it_is_sentence_transformers_own_loss_where_all_is_scored(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    question = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    passages = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    teacher, student, _ = lists(seed, questions=3, length=4)
    student = torch.einsum("qd,pqd->qp", question, passages)
    theirs = MarginMSELoss(torch.nn.Identity()).compute_loss_from_embeddings([question, *passages], teacher)
    ours = margin_mse(teacher, student, torch.ones(3, 4, dtype=torch.bool))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("filler", [0.0, 1e4, float("nan"), float("inf")])
def test_padding_changes_nothing_whatever_it_holds(filler: float) -> None:
    teacher, student, kept = lists(4)
    plain = value_and_gradients(lambda s: margin_mse(teacher, s, kept), student)
    longer = value_and_gradients(
        lambda s: margin_mse(padded(teacher, 2, filler), padded(s, 2, filler), padded(kept, 2, False)),
        student,
    )
    same(longer, plain)


@pytest.mark.parametrize("shape", [(0, 4), (3, 1), (3, 4)])
def test_no_margin_is_no_loss(shape: tuple[int, int]) -> None:
    student = torch.randn(shape, requires_grad=True)
    loss = margin_mse(torch.randn(shape), student, torch.zeros(shape, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert student.grad is not None
    assert student.grad.abs().sum() == 0


def test_a_constant_in_either_score_changes_nothing() -> None:
    teacher, student, kept = lists(5)
    torch.testing.assert_close(margin_mse(teacher + 7, student - 3, kept), margin_mse(teacher, student, kept))
