"""A whole recipe to look at: each stage's name as it begins, its training, and what is encoded or scored."""

import time
from typing import Any

from rich.console import Console

from ernie_search.training.progress import TrainProgress

EVERY = 10.0
"""Seconds until a line about a count; the next ones wait for a quarter of the time since its first, so that a
long stage does not fill a file."""


COUNTS = {
    "mine": (("lists", "lists"), ("filled", "negatives drawn at random, as too few were found")),
    "score": (
        ("lists", "lists"),
        ("denoised", "negatives dropped, which the teacher takes for positives"),
        ("refilled", "drawn from other questions in their place"),
        ("still_short", "lists short even so"),
    ),
}
"""What of a finished stage's counts is said, and in which words, by its kind."""


class RecipeProgress:
    """An observer for :func:`~ernie_search.recipes.run.run_recipe` and the ablation.

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
            going_on = ", goes on" if values["state"] == "goes on" else ""
            self._stage(f"stage {values['name']}{going_on}")
        elif event == "stage-done":
            found = ((said, values["counts"].get(name)) for name, said in COUNTS.get(values["kind"], ()))
            counts = "".join(f"; {count:,} {said}" for said, count in found if count)
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
