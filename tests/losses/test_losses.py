"""Contrastive and interaction losses against their definitions, and the candidate masks by hand."""

import math

import pytest
import torch

from ernie_search.errors import TrainingError
from ernie_search.losses import candidates, contrastive, interaction_distillation
from ernie_search.losses.copies import copies, is_copy

GROUPS = [["a", "x"], ["b", "a"], ["c", "y"]]
POSITIVES = [{"a"}, {"b"}, {"c", "x"}]


def test_known_positives_elsewhere_in_the_batch_are_masked() -> None:
    who = candidates(GROUPS, POSITIVES)
    assert who.positive.tolist() == [0, 2, 4]
    assert who.allowed.int().tolist() == [[1, 1, 1, 0, 1, 1], [0, 1, 1, 1, 1, 1], [1, 0, 1, 0, 1, 1]]
    assert who.own.int().tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]


def test_a_passage_that_stands_in_several_groups_is_one_candidate_its_own_place_first() -> None:
    groups = [["a", "x", "y"], ["b", "x", "z"], ["a", "z", "x"]]
    who = candidates(groups, [{"a"}, {"b"}, {"a"}])
    assert who.allowed.int().tolist() == [
        [1, 1, 1, 1, 0, 1, 0, 0, 0],
        [1, 0, 1, 1, 1, 1, 0, 0, 0],
        [0, 0, 1, 1, 0, 0, 1, 1, 1],
    ]
    flat = [passage for group in groups for passage in group]
    for row in range(3):
        kept = [passage for passage, allowed in zip(flat, who.allowed[row], strict=True) if allowed]
        assert sorted(kept) == ["a", "b", "x", "y", "z"]


@pytest.mark.parametrize("groups", [[["a"]], [["a"], ["a"]]])
def test_a_question_without_a_negative_is_refused(groups: list[list[str]]) -> None:
    with pytest.raises(TrainingError, match="no negative"):
        candidates(groups, [{"a"}] * len(groups))


def test_groups_of_different_sizes_are_refused() -> None:
    with pytest.raises(TrainingError, match="different sizes"):
        candidates([["a", "b"], ["c"]], [{"a"}, {"c"}])


@pytest.mark.parametrize(
    ("question", "passage", "copied"),
    [
        ("half of india's tea grows", "Assam: half of India's tea grows here.", True),
        ("Half of India\u2019s tea, grows", "Half of India's tea grows here.", True),
        ("Assam tea history", "Assam tea history. It began in 1823.", False),  # words that somebody may ask
        ("Where does India's tea grow?", "Assam grows half of India's tea.", False),
        ("half of tea in india grows", "Half of India's tea grows in Assam.", False),  # in another order
        ("alf of india's tea grows", "Half of India's tea grows in Assam.", False),  # words, not letters
        ("", "", False),
        ("COVID-19 vaccine side-effects", "COVID-19 vaccine: side-effects.", False),  # three words
        ("नमस्ते दुनिया", "नमस्ते दुनिया", False),  # two
        (
            "富士山の高さはどれくらい",
            "富士山の高さはどれくらいですか。",
            True,
        ),
        (
            "富士山の高さはどれくらい",
            "富士山は高い山です。",
            False,
        ),
    ],
)
def test_a_copied_question_stands_in_its_passage_word_for_word(
    question: str, passage: str, copied: bool
) -> None:
    assert is_copy(question, passage) == copied
    found = copies([question, "what is tea made of?"], [passage, "Leaves."])
    assert found == ((True, False) if copied else None)


def softmax(scores: list[float], temperature: float) -> list[float]:
    powers = [math.exp(score / temperature) for score in scores]
    return [power / sum(powers) for power in powers]


def test_contrastive_equals_the_definition() -> None:
    who = candidates(GROUPS, POSITIVES)
    scores = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = 0.0
    for row in range(3):
        kept = [column for column in range(6) if who.allowed[row, column]]
        p = softmax([scores[row, column].item() for column in kept], 0.7)
        expected -= math.log(p[kept.index(int(who.positive[row]))]) / 3
    assert contrastive(scores, who, 0.7).item() == pytest.approx(expected)


@pytest.mark.parametrize("detach", [True, False])
def test_interaction_distillation_equals_the_definition(detach: bool) -> None:
    who = candidates(GROUPS, POSITIVES)
    generator = torch.Generator().manual_seed(1)
    teacher = torch.randn(3, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    student = torch.randn(3, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    expected, entropy = 0.0, 0.0
    for row in range(3):
        kept = [column for column in range(6) if who.allowed[row, column]]
        p = softmax([teacher[row, column].item() for column in kept], 0.5)
        q = softmax([student[row, column].item() for column in kept], 0.9)
        expected += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 3
        entropy -= sum(a * math.log(a) for a in p) / 3
    result = interaction_distillation(
        teacher, student, who.allowed, teacher_temperature=0.5, student_temperature=0.9, detach_teacher=detach
    )
    assert result.loss.item() == pytest.approx(expected)
    assert result.teacher_entropy.item() == pytest.approx(entropy)
    result.loss.backward()
    assert (teacher.grad is None) == detach
    assert student.grad is not None
    assert student.grad[~who.allowed].abs().max().item() == 0.0


def test_equal_readings_have_nothing_to_teach() -> None:
    scores = torch.randn(2, 5)
    allowed = torch.ones(2, 5, dtype=torch.bool)
    result = interaction_distillation(
        scores, scores, allowed, teacher_temperature=0.5, student_temperature=0.5
    )
    assert result.loss.item() == pytest.approx(0.0, abs=1e-6)
