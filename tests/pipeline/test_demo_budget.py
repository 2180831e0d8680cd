"""Steps and corpus size follow from the measured speed, within their bounds."""

import shutil
from pathlib import Path

import pytest

from ernie_search.pipeline import demo
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


def test_a_machine_that_slows_down_twice_gets_fewer_steps_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    answers: list[int | None] = [60, 25, None]
    plan = {"steps": 200}
    one = demo._Demo(tmp_path, None, plan, None, 0.0, told.append, lambda *given: None)  # type: ignore[arg-type]

    def train(name: str) -> None:
        (tmp_path / name).mkdir()
        fit = answers.pop(0)
        if fit is not None:
            raise demo.BehindError(fit)

    for part in ("_index", "_measure", "_done"):
        monkeypatch.setattr(demo._Demo, part, lambda *given: False)
    monkeypatch.setattr(one, "_train", train)
    one.trained("alone")
    assert [line for line in told if "again" in line] == [
        f"slower than planned: begins again with {steps} steps" for steps in (60, 25)
    ]
    assert one.plan["steps"] == 25
    answers[:] = [15, 0]
    shutil.rmtree(tmp_path / "alone")
    one.trained("alone")
    assert told[-1] == demo.TOO_BUSY
    assert not (tmp_path / "alone").exists()
