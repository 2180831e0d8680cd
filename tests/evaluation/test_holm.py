"""Holm's correction on hand-worked values, and against the procedure as it is defined."""

import numpy as np
import pytest

from ernie_search.errors import EvaluationError
from ernie_search.evaluation.significance import holm


def test_hand_worked() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.04]) == [0.04]
    assert holm([0.5, 0.9, 0.01]) == pytest.approx([1.0, 1.0, 0.03])
    assert holm([0.02, 0.02]) == pytest.approx([0.04, 0.04])
    assert holm([]) == []


def rejected(p_values: list[float], alpha: float) -> set[int]:
    """Step down: reject the smallest while p <= alpha / (number left)."""
    out: set[int] = set()
    for done, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[place] > alpha / (len(p_values) - done):
            break
        out.add(place)
    return out


def test_equals_the_step_down_procedure() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        values = (generator.random(int(generator.integers(1, 8))) ** 3).tolist()
        adjusted = holm(values)
        for alpha in (0.001, 0.01, 0.05, 0.2):
            assert {i for i, p in enumerate(adjusted) if p <= alpha} == rejected(values, alpha)


def test_no_probability_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"1\.5 is no p value"):
        holm([0.1, 1.5])
    with pytest.raises(EvaluationError, match="nan is no p value"):
        holm([float("nan")])
