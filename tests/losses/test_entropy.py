"""Advice where a teacher is flat or one-hot, silence where it teaches."""

import math

import pytest

from ernie_search.losses import entropy_advice


@pytest.mark.parametrize(
    ("entropy", "candidates"),
    [(0.5, 8), (1.0, 8), (1.5, 8), (0.5, 48), (1.5, 48), (3.0, 48), (0.5, 1000), (0.4, 2), (0.3, 4)],
)
def test_a_teacher_that_distinguishes_needs_no_advice(entropy: float, candidates: int) -> None:
    assert entropy_advice(entropy, candidates, "teacher_temperature") is None


@pytest.mark.parametrize(("entropy", "candidates"), [(0.25, 48), (0.0, 8), (0.05, 2), (0.29, 1000)])
def test_one_hot_is_told_to_rise(entropy: float, candidates: int) -> None:
    line = entropy_advice(entropy, candidates, "cross_temperature")
    assert line is not None
    assert f"{entropy:.2f} nats over {candidates} candidates" in line
    assert "almost one-hot" in line
    assert "raise cross_temperature" in line
    assert "\n" not in line


@pytest.mark.parametrize("candidates", [2, 8, 48])
def test_flat_is_told_to_fall(candidates: int) -> None:
    line = entropy_advice(math.log(candidates), candidates, "teacher_temperature")
    assert line is not None
    assert "almost flat" in line
    assert "lower teacher_temperature" in line


def test_the_aim_is_within_what_the_candidates_allow() -> None:
    assert "until it is 0.5 to 1.5" in str(entropy_advice(0.1, 48, "t"))
    assert "until it is 0.2 to 0.5" in str(entropy_advice(0.0, 2, "t"))


@pytest.mark.parametrize("candidates", [0, 1])
def test_one_candidate_has_no_entropy(candidates: int) -> None:
    assert entropy_advice(0.0, candidates, "t") is None


def test_no_figure_no_advice() -> None:
    assert entropy_advice(math.nan, 8, "t") is None
