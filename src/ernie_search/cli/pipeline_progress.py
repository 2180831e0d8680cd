"""What a pipeline shows while it runs: stages as they begin and end, trainings, counts of texts and lists."""

import time
from typing import Any

from rich.console import Console

from ernie_search.training.progress import TrainProgress

EVERY = 10.0
"""Seconds until a line about a count; the next ones wait for a quarter of the time since its first, so that a
long stage does not fill a file."""


class PipelineProgress:
    """An observer for :func:`~ernie_search.pipeline.run_recipe` and the ablation.

    Args:
        console: where to.
        stages: say which stage begins and how long it took; without, only trainings are shown.

    Attributes:
        worked: whether anything was done, and not only found done.
    """

    def __init__(self, console: Console, *, stages: bool = True) -> None:
        self.console, self.stages, self.worked = console, stages, False
        self._training = TrainProgress(console)
        self._what, self._began, self._said = "", 0.0, 0.0

    def __call__(self, event: str, values: dict[str, Any]) -> None:
        """Show one event."""
        self.worked = self.worked or event != "row"
        if event == "row":
            seed = "" if values["seed"] is None else f", seed {values['seed']}"
            self._line(f"row {values['name']}{seed}")
        elif event == "stage":
            resumes = ", resumes" if values["state"] == "resumes" else ""
            self._stage(f"stage {values['name']}{resumes}")
        elif event == "stage-done":
            counts = "".join(f"; {one}" for one in values["told"])
            self._stage(f"stage {values['name']}: done in {values['seconds']:,.0f} seconds{counts}")
        elif event == "teacher":
            self._line(f"teacher {values['number'] + 1} of {values['teachers']}")
        elif event == "progress":
            self._count(values["what"], values["done"], values["total"])
        else:
            self._training(event, values)

    def _stage(self, text: str) -> None:
        if self.stages:
            self._line(text)

    def _count(self, what: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._began, self._said = what, now, now
        last = total is not None and done >= total
        if now - self._said < max(EVERY, (now - self._began) / 4) and not last:
            return
        self._said = now
        self._line(f"{what}: {done:,}" + (f" of {total:,}" if total is not None else ""))

    def _line(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)
