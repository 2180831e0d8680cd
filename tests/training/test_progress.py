"""What a person sees of a run, on a terminal and in a file."""

import io

import pytest
from rich.console import Console

from ernie_search.training.progress import TrainProgress

RUN = [
    ("prepare", {}),
    ("start", {"step": 0, "steps": 4}),
    ("step", {"step": 1, "steps": 4}),
    ("step", {"step": 2, "steps": 4}),
    ("log", {"step": 2, "loss": 1.23456}),
    ("dev", {"step": 2, "eval_dense_mrr": 0.5, "eval_late_mrr": 0.6125, "eval_runtime": 1.0}),
    ("checkpoint", {"step": 2}),
    ("step", {"step": 3, "steps": 4}),
    ("step", {"step": 4, "steps": 4}),
    ("log", {"step": 4, "loss": 0.5}),
    ("end", {"step": 4, "steps": 4}),
]


def shown(events, *, terminal: bool, width: int = 60) -> str:
    text = io.StringIO()
    progress = TrainProgress(Console(file=text, force_terminal=terminal, width=width))
    for name, values in events:
        progress(name, values)
    return text.getvalue()


@pytest.fixture
def clock(monkeypatch):
    """A second a look, 90 for the first step."""
    times = iter([0.0, 0.0, 90.0, *range(91, 200)])
    monkeypatch.setattr("ernie_search.training.progress.time.monotonic", lambda: next(times))


def test_a_file_gets_a_line_an_event_of_a_short_run(clock):
    assert shown(RUN, terminal=False, width=20).splitlines() == [
        "reading questions and passages, mining negatives, loading the base model",
        "step 2 of 4: loss 1.235, 1:30 left",
        "step 2 of 4: dev sample MRR@10 dense 0.500, late 0.613",
        "step 4 of 4: loss 0.500",
    ]


def test_with_lists_nothing_is_mined():
    text = shown([("prepare", {"lists": True})], terminal=False)
    assert text == "reading questions and passages, loading the base model\n"


@pytest.mark.parametrize("steps", [1, 9, 10, 34, 39, 45, 59, 100, 400, 12_345])
@pytest.mark.parametrize("first", [0, 7])
def test_a_file_gets_about_ten_lines_of_the_loss(steps, first):
    every = max(1, steps // 20)  # as the trainer logs
    logs = [step for step in range(first + 1, steps + 1) if step % every == 0 or step == steps]
    events = [("start", {"step": first, "steps": steps}), *(("log", {"step": s, "loss": 1.0}) for s in logs)]
    lines = [line for line in shown(events, terminal=False).splitlines() if "loss" in line]
    assert len(lines) <= 10
    assert len(lines) >= min(len(logs), 5)
    if logs:
        assert lines[-1] == f"step {steps} of {steps}: loss 1.000"


def test_a_terminal_gets_one_bar_that_goes_and_the_measurements_that_stay():
    text = shown(RUN, terminal=True, width=80)
    assert "step 4 of 4" in text
    assert "loss 0.500  dev 0.500" in text
    assert "step 2 of 4: dev sample MRR@10 dense 0.500" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is hidden, and shown again


def test_a_failed_run_gives_the_terminal_back():
    text = shown([*RUN[:5], RUN[-1]], terminal=True)
    assert text.count("\x1b[?25h") == 1


def test_a_second_run_starts_from_nothing():
    second = [("start", {"step": 100, "steps": 300}), ("step", {"step": 101}), ("end", {"step": 101})]
    text = shown([*RUN, *second], terminal=True)
    assert "resuming after step 100 of 300" in text
    assert "step 101 of 300" in text
    assert "loss" not in text[text.index("resuming") :]


@pytest.mark.parametrize(("seconds", "words"), [(4, "0:04"), (725, "12:05"), (3725, "1:02:05")])
def test_time_left(monkeypatch, seconds, words):
    progress = TrainProgress(Console(file=io.StringIO()))
    progress("start", {"step": 10, "steps": 12})
    progress.started, progress.step = 0.0, 11
    monkeypatch.setattr("ernie_search.training.progress.time.monotonic", lambda: float(seconds))
    assert progress.time_left() == words
