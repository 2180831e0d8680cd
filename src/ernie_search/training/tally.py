"""What a run counts on its way; kept in each checkpoint, so that an interrupted run counts nothing twice."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ernie_search._util.files import read_json, write_json
from ernie_search.losses import entropy_advice
from ernie_search.training.settings import TrainSettings
from ernie_search.training.world import World

TALLY_FILE = "tally.json"


def _zeros() -> dict[str, int]:
    return {"query": 0, "passage": 0}


@dataclass(slots=True)
class Tally:
    """Seconds, texts and truncated texts of the steps so far.

    Steps that a kill undid count for nothing: they are done, and counted, again.

    Attributes:
        before: seconds of earlier calls, up to the checkpoint that this call went on from.
        texts, truncated: how many texts were encoded, and how many were longer than the model reads.
        started: the clock when this call began.
        world: the ranks whose texts are counted together.
    """

    before: float = 0.0
    texts: dict[str, int] = field(default_factory=_zeros)
    truncated: dict[str, int] = field(default_factory=_zeros)
    started: float = field(default_factory=time.monotonic)
    world: World = field(default_factory=World)

    @property
    def seconds(self) -> float:
        """Of all calls."""
        return self.before + time.monotonic() - self.started

    def add(self, batch: Mapping[str, Any]) -> None:
        """Count one collated step, of all ranks."""
        orders = {"query": "question_order", "passage": "passage_order"}
        counts = {task: len(batch[order]) for task, order in orders.items()}
        counts |= {f"{task}_cut": int(batch["truncated"][task]) for task in orders}
        counts = self.world.total(counts)
        for task in orders:
            self.texts[task] += counts[task]
            self.truncated[task] += counts[f"{task}_cut"]

    def shares(self) -> dict[str, float]:
        """Truncated texts over all texts, by task."""
        return {task: round(self.truncated[task] / max(1, count), 4) for task, count in self.texts.items()}

    def write(self, folder: Path) -> None:
        """Write ``tally.json`` into a checkpoint."""
        values = {"seconds": self.seconds, "texts": self.texts, "truncated": self.truncated}
        write_json(folder / TALLY_FILE, values)

    def go_on_from(self, folder: Path) -> None:
        """Take over the counts of a checkpoint."""
        values = read_json(folder / TALLY_FILE)
        self.before, self.texts, self.truncated = values["seconds"], values["texts"], values["truncated"]


def scores_advice(entropy: float, candidates: int, temperature: float) -> str | None:
    """One line where a cross-encoder's scores of lists are almost flat or one-hot to a training.

    Args:
        entropy: mean of the lists' softmax, in nats.
        candidates: of a list, in the mean.
        temperature: at which it was taken.
    """
    advice = entropy_advice(entropy, candidates, "cross_temperature")
    return advice and f"with cross_temperature={temperature:g}, as trainings have it, {advice}"


class EntropyWatch:
    """Advice on each teacher, once a run."""

    def __init__(self, settings: TrainSettings) -> None:
        own = 1 + settings.negatives
        batch = settings.questions_per_batch * own
        over = own if settings.distillation_candidates == "own" else batch
        self.waiting = {
            "teacher_entropy": (over, "teacher_temperature"),
            "cross_entropy": (own, "cross_temperature"),
        }

    def heed(self, logged: Mapping[str, Any]) -> Iterator[str]:
        """Lines of advice on what was logged: the entropy, and which setting to change how."""
        for name, (candidates, setting) in list(self.waiting.items()):
            if name in logged:
                advice = entropy_advice(float(logged[name]), candidates, setting)
                if advice:
                    del self.waiting[name]
                    yield advice
