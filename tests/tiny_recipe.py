"""A whole recipe over the tiny base, which runs in seconds."""

from pathlib import Path
from typing import Any

import yaml

from tiny_training import settings


def tiny_stages() -> list[dict[str, dict[str, Any]]]:
    """All five kinds; two steps a training is all that the runner needs to see."""
    train = settings(steps=4, evaluations=1, checkpoints=2, negatives=1).model_dump()
    del train["seed"]
    teacher = {
        "steps": 4,
        "questions_per_batch": 4,
        "negatives": 3,
        "max_length": 60,
        "precision": "fp32",
        "evaluations": 1,
        "held_out": 4,
    }
    return [
        {"warm-up": dict(train)},
        {"mine": {"last": 8, "number": 4, "near_duplicate": 0, "shard_size": 16}},
        {"teacher": teacher},
        {"score": {"shard_size": 16, "precision": "fp32"}},
        {"cascade": {**train, "cascade_weight": 1.0, "negatives": 1}},
    ]


def write_recipe(folder: Path, base: Path, number: int = 5, stages: list[Any] | None = None) -> Path:
    """A recipe of the first so many stages, or of others."""
    path = folder / f"tiny{number}.yaml"
    chosen = tiny_stages()[:number] if stages is None else stages
    path.write_text(yaml.safe_dump({"base": str(base), "stages": chosen}), encoding="utf-8")
    return path
