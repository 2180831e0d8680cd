"""Steps and corpus size follow from the measured speed, within their bounds."""

import pytest

from ernie_search.pipeline.demo import FEWEST_PASSAGES, FEWEST_STEPS, MOST_STEPS, budget


def test_shares_add_up_to_what_was_given() -> None:
    found = budget(480, rate=40.0, step=1.5, passages=100_000, models=4, trainings=3)
    assert found.passages == int(480 * 0.35 / 4 * 40)
    assert found.steps == int(480 * 0.45 / 3 / 1.5)
    spent = found.passages * 4 / 40.0 + found.steps * 3 * 1.5
    assert spent <= 480 * 0.8


@pytest.mark.parametrize(("rate", "step"), [(0.1, 60.0), (1e6, 1e-4)])
def test_bounds_hold_on_very_slow_and_very_fast_machines(rate: float, step: float) -> None:
    found = budget(480, rate=rate, step=step, passages=6000, models=4, trainings=3)
    assert FEWEST_STEPS <= found.steps <= MOST_STEPS
    assert FEWEST_PASSAGES <= found.passages <= 6000
