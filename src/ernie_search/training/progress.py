"""Progress of a training: a bar on a terminal, a few lines in a file or pipe."""

import math
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

LINES = 10
"""Lines of the loss that a whole training writes to a file or pipe; log.jsonl has all of them."""


class TrainProgress:
    """An observer that shows the step, the time left, the loss and dev, of one training after another.

    Args:
        console: to write to; whether it is a terminal decides the form.

    Example:
        >>> train(collection, output, settings, base=base, observer=TrainProgress(Console(stderr=True)))
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.listed = False
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._reset(0, 0)

    def _reset(self, step: int, steps: int) -> None:
        self.step, self.first, self.steps = step, step, steps
        self.started = time.monotonic()
        self.reported = step
        self.loss = ""
        self.dev: tuple[float, ...] = ()

    def __call__(self, event: str, values: dict[str, Any]) -> None:
        """Show one event."""
        if event == "prepare":
            mined = "" if values.get("lists") else "mining negatives, "
            self._line(f"reading questions and passages, {mined}loading the base model")
        elif event == "filled":
            self._line(
                f"{values['filled']:,} of {values['negatives']:,} negatives are random passages: BM25 found "
                f"too few in ranks {values['first']} to {values['last']} (negative_first, negative_last)"
            )
        elif event == "listed" and not self.listed:
            self.listed = True
            size = values["bytes"] / 1e6
            self._line(
                f"{values['passages']:,} list passages encoded, their cached vectors take {size:.0f} MB"
            )
        elif event == "start":
            self._start(values["step"], values["steps"])
        elif event == "step":
            self._advance(values["step"])
        elif event == "log":
            self.loss = f"loss {values['loss']:.3f}"
            self._log(values["step"])
        elif event == "dev":
            self._measured(values)
        elif event == "held_out":
            mrr = values["eval_held_out_mrr"]
            self._line(f"step {values['step']}: MRR on lists it is not trained on {mrr:.3f}")
        elif event == "advice":
            self._line(f"warning: {values['text']}")
        elif event == "end":
            self._end()

    def _line(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def _start(self, step: int, steps: int) -> None:
        self._reset(step, steps)
        if step:
            self._line(f"resuming after step {step} of {steps}")
        if self.console.is_terminal:
            columns = (
                TextColumn("step {task.completed:.0f} of {task.total:.0f}"),
                BarColumn(bar_width=None),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
            )
            self._bar = Progress(*columns, console=self.console, transient=True)
            self._task = self._bar.add_task("training", total=steps, completed=step, note="")
            self._bar.start()

    def _advance(self, step: int) -> None:
        self.step = step
        if self._bar is not None:
            self._bar.update(self._task, completed=step, note=self._note())

    def _log(self, step: int) -> None:
        if self._bar is not None:
            self._advance(step)
        elif step >= min(self.reported + math.ceil(self.steps / LINES), self.steps):
            self.reported = step
            left = f", {self.time_left()} left" if step < self.steps else ""
            self._line(f"step {step} of {self.steps}: {self.loss}{left}")

    def _measured(self, values: dict[str, Any]) -> None:
        shown = {"dense": values.get("eval_dense_mrr"), "late": values.get("eval_late_mrr")}
        found = {name: value for name, value in shown.items() if value is not None}
        self.dev = tuple(found.values())
        text = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
        # The bar vanishes at the end; the measurements stay, on a terminal too.
        self._line(f"step {values['step']} of {self.steps}: dev sample MRR@10 {text}")
        self._advance(values["step"])

    def _note(self) -> str:
        dev = f"dev {self.dev[0]:.3f}" if self.dev else ""
        return "  ".join(part for part in (self.loss, dev) if part)

    def time_left(self) -> str:
        """Time left, by the mean of this call's steps: ``12:05`` (minutes and seconds) or ``1:02:05``."""
        done = max(1, self.step - self.first)
        seconds = round((time.monotonic() - self.started) / done * (self.steps - self.step))
        minutes, rest = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
