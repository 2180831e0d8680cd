"""A run that trains in a second, over the tiny base: questions that name what their passage is of."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ernie_search.data import MemoryCollection
from ernie_search.types import Passage, Query

if TYPE_CHECKING:
    from ernie_search.training import TrainingData, TrainSettings

CROPS = [
    "tea",
    "rice",
    "wheat",
    "maize",
    "barley",
    "oats",
    "rye",
    "millet",
    "sorghum",
    "cotton",
    "flax",
    "hemp",
    "jute",
    "sugar",
    "coffee",
    "cocoa",
    "pepper",
    "vanilla",
    "ginger",
    "saffron",
    "olive",
    "grape",
    "apple",
    "pear",
    "plum",
    "cherry",
    "peach",
    "fig",
    "date",
    "lemon",
    "orange",
    "mango",
    "banana",
    "papaya",
    "guava",
    "lychee",
    "onion",
    "garlic",
    "leek",
    "carrot",
]
PLACES = ("assam", "hunan", "kansas", "oaxaca", "fife", "skane", "perm", "tamil")
TRAIN, DEV = 40, 12


def collection(**changes: Any) -> MemoryCollection:
    """A passage a crop, a question a passage; dev asks about the first crops otherwise.

    Args:
        **changes: replace ``passages``, ``queries`` or ``qrels``.
    """
    passages = [
        Passage(
            f"p{i}", f"{crop} is grown in {PLACES[i % 8]} and needs {'much' if i % 2 else 'little'} rain."
        )
        for i, crop in enumerate(CROPS[:TRAIN])
    ]
    queries = [Query(f"q{i}", f"where does {crop} grow?") for i, crop in enumerate(CROPS[:TRAIN])]
    queries += [Query(f"d{i}", f"{crop} is grown where?") for i, crop in enumerate(CROPS[:DEV])]
    qrels = {
        "train": {f"q{i}": {f"p{i}": 1} for i in range(TRAIN)},
        "dev": {f"d{i}": {f"p{i}": 1} for i in range(DEV)},
    }
    parts = {"passages": passages, "queries": queries, "qrels": qrels} | changes
    return MemoryCollection("crops", "memory", **parts)


def settings(**changes: Any) -> "TrainSettings":
    """Twelve steps of 8 questions, checkpoints and dev every 4, in fp32."""
    from ernie_search.training import TrainSettings  # torch: other tests take the collection alone

    values = {
        "steps": 12,
        "questions_per_batch": 8,
        "learning_rate": 1e-3,
        "query_length": 32,
        "passage_length": 60,
        "evaluations": 3,
        "checkpoints": 3,
        "onnx": False,
        "precision": "fp32",
    }
    return TrainSettings(**(values | changes))


def weights(model: Path) -> dict[str, bytes]:
    """The bytes of a model directory's weights, token head included."""
    found = {path.name: path.read_bytes() for path in sorted(model.glob("*.safetensors"))}
    assert set(found) == {"model.safetensors", "token_head.safetensors"}
    return found


def with_copies(data: "TrainingData") -> "TrainingData":
    """The same data, where each third question is its passage's own text."""
    examples = [
        replace(one, question=data.passages[one.positives[0]]) if number % 3 == 0 else one
        for number, one in enumerate(data.examples)
    ]
    return replace(data, examples=examples)
