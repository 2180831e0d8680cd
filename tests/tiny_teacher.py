"""Lists for a cross-encoder that trains in a second: what is relevant says so in one word."""

from pathlib import Path
from typing import Any

from ernie_search.data import MemoryCollection
from ernie_search.mining.lists import Lists, TrainingList, write_lists
from ernie_search.teacher import TeacherSettings
from ernie_search.types import Passage, Query

TRAIN, DEV = 24, 6
NEGATIVES = 5


def collection(**changes: Any) -> MemoryCollection:
    """Questions ``q0..`` (train) and ``d0..`` (dev), each with a passage of rain; ``n0..`` hold none."""
    signs = "abcdefghijklmnopqrstuvwxyz0123456789"
    passages = [Passage(f"p{i}", f"the rain in {signs[i]} is long") for i in range(TRAIN + DEV)]
    passages += [Passage(f"n{i}", f"the rice in {signs[i]} is long{' long' * (i % 5)}") for i in range(30)]
    queries = [Query(f"q{i}", f"where is {signs[i]}?") for i in range(TRAIN)]
    queries += [Query(f"d{i}", f"where is {signs[TRAIN + i]}?") for i in range(DEV)]
    qrels = {
        "train": {f"q{i}": {f"p{i}": 1} for i in range(TRAIN)},
        "dev": {f"d{i}": {f"p{TRAIN + i}": 1} for i in range(DEV)},
    }
    parts = {"passages": passages, "queries": queries, "qrels": qrels} | changes
    return MemoryCollection("weather", "memory", **parts)


def training_lists() -> list[TrainingList]:
    """A list a training question, of different lengths."""
    return [
        TrainingList(f"q{i}", (f"p{i}",), tuple(f"n{(i + k) % 30}" for k in range(NEGATIVES - i % 3)))
        for i in range(TRAIN)
    ]


def lists(folder: Path, data: MemoryCollection | None = None) -> Lists:
    """The same as a folder."""
    fingerprint = (data or collection()).fingerprint
    return write_lists(
        folder, training_lists(), data_fingerprint=fingerprint, about={"settings": {"seed": 0}}
    )


def settings(base: str, **changes: Any) -> TeacherSettings:
    """Six steps of four questions in two parts, checkpoints at 2, 4 and 6, in fp32."""
    values = {
        "base": base,
        "steps": 6,
        "questions_per_batch": 4,
        "negatives": 4,
        "backwards": 2,
        "learning_rate": 1e-3,
        "max_length": 60,
        "evaluations": 3,
        "held_out": 8,
        "checkpoints": 3,
        "precision": "fp32",
    }
    return TeacherSettings(**(values | changes))
