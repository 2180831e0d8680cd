"""A whole recipe over the tiny base, which runs in seconds."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.append(str(Path(__file__).parent.parent))  # for the tiny model, which several rooms share


def tiny_stages() -> list[dict[str, dict[str, Any]]]:
    """All five kinds; two steps a training is all that the engine needs to see."""
    from tiny_training import settings

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


@pytest.fixture
def tiny_base(tmp_path: Path) -> Path:
    """A sentence-transformers model of a few thousand weights."""
    from tiny_model import sentence_base

    return sentence_base(tmp_path / "base", layers=2)


@pytest.fixture
def tiny_recipe(tmp_path: Path, tiny_base: Path) -> Callable[..., Path]:
    """Write a recipe of the first so many stages: ``tiny_recipe(1)``."""

    def write(number: int = 5, stages: list[Any] | None = None) -> Path:
        path = tmp_path / f"tiny{number}.yaml"
        chosen = tiny_stages()[:number] if stages is None else stages
        path.write_text(yaml.safe_dump({"base": str(tiny_base), "stages": chosen}), encoding="utf-8")
        return path

    return write
