"""An adaptation that runs in seconds: sixty little documents over the tiny base."""

from pathlib import Path
from typing import Any

from ernie_search.data import MemoryCollection, write_beir
from ernie_search.types import Passage, Query
from tiny_training import CROPS, PLACES

VERBS = ("needs", "likes", "gets", "fears", "hates")
NUMBER = 60

SETTINGS: dict[str, Any] = {
    "train.steps": 4,
    "train.questions_per_batch": 8,
    "train.checkpoints": 2,
    "train.refresh_steps": 2,
    "train.query_length": 32,
    "train.passage_length": 60,
    "train.list_passages": 5,
    "train.follow_lead": False,  # a tiny random model's late interaction leads nowhere
    "lists.length": 12,
    "check.shares": (0.5, 1.0),
    "check.fewest": 5,
    "questions.per_passage": 2,
    "questions.held_out": 0.3,
    "fewest_passages": 20,
    "fewest_questions": 8,
}


def passages(number: int = NUMBER) -> list[Passage]:
    """Texts of different words, so that questions of them differ."""
    made = []
    for row in range(number):
        first, second, third = (CROPS[(row * step + step) % len(CROPS)] for step in (1, 7, 11))
        text = (
            f"The {first} of {PLACES[row % 8]} {VERBS[row % 5]} rain {row} times while {second} grows well. "
            f"Farmers there sell {third} number {row} beside old {CROPS[(row * 3) % len(CROPS)]} roads."
        )
        made.append(Passage(f"p{row}", text))
    return made


def collection(number: int = NUMBER, labels: int = 0) -> MemoryCollection:
    """These as a collection, the first of them with labelled questions in ``train`` and ``test``."""
    queries = [Query(f"q{row}", f"where is {CROPS[row]} grown?") for row in range(labels)]
    judged = {f"q{row}": {f"p{row}": 1} for row in range(labels)}
    return MemoryCollection(
        "docs", "memory", passages(number), queries, {"train": judged, "test": judged} if labels else {}
    )


def beir(folder: Path, number: int = NUMBER, labels: int = 0) -> Path:
    """The collection as a BEIR folder."""
    write_beir(collection(number, labels), folder)
    return folder


def documents(folder: Path, number: int = NUMBER) -> Path:
    """The same as a folder of text files, every tenth of them broken."""
    folder.mkdir()
    for row, passage in enumerate(passages(number)):
        (folder / f"{row:03}.md").write_text(f"# Note {row}\n\n{passage.text}\n", encoding="utf-8")
    for row in range(number // 10):
        (folder / f"broken{row}.pdf").write_bytes(b"%PDF-1.4 nothing of a document\x00\xff")
    return folder
