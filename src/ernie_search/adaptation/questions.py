"""Questions that were made from a collection's own passages, and their file."""

import hashlib
import json
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ernie_search._util.files import atomic_write, did_you_mean
from ernie_search.data.readers import read_objects
from ernie_search.errors import DataError
from ernie_search.types import Query, check_id, checked_query

Kind = Literal["span", "cloze", "keywords", "title", "generated", "own"]
"""``span``: words of a sentence; ``cloze``: a sentence without its telling words; ``keywords``: some of the
passage's rarer words; ``title``: its title or a heading; ``generated``: by a model; ``own``: by a person."""

RULE_KINDS: tuple[Kind, ...] = ("span", "cloze", "keywords", "title")
"""The kinds that rules make of any text, without a model."""

Split = Literal["train", "held-out"]
"""``train`` is learnt from; ``held-out``, of other passages and another kind, only measures."""

KEYS = ("id", "text", "passage", "kind", "seed", "split")
NAMED = 5
"""Ids that a message about missing passages names."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question whose answer is a passage that is known.

    Attributes:
        text: as a user would type it.
        passage: id of the passage that it was made from.
        kind: how it was made; see ``Kind``.
        seed: of the sampling that it came from.
        id: unique in its file; a hash of the other values where none is given.
        split: what it is for; see ``Split``.
    """

    text: str
    passage: str
    kind: Kind = "own"
    seed: int = 0
    id: str = ""
    split: Split = "train"

    def __post_init__(self) -> None:
        """Questions without an id get one that says the same in every run."""
        if not self.id:
            parts = json.dumps([self.kind, self.passage, self.text, self.seed], ensure_ascii=False)
            digest = hashlib.sha256(parts.encode(errors="surrogatepass")).hexdigest()[:16]
            object.__setattr__(self, "id", f"{self.kind}-{digest}")

    @property
    def query(self) -> Query:
        """The question as search and evaluation take it."""
        return Query(self.id, self.text)

    def as_json(self) -> dict[str, Any]:
        """The object of its line."""
        return {key: getattr(self, key) for key in KEYS}


@dataclass(frozen=True, slots=True)
class Dangling:
    """Questions of passages that a collection does not hold.

    Attributes:
        questions: all of them, in their order.
    """

    questions: tuple[Question, ...]

    def __len__(self) -> int:
        return len(self.questions)

    def __str__(self) -> str:
        """In words: how many, and the first of the passages."""
        names = list(dict.fromkeys(one.passage for one in self.questions))
        more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
        named = ", ".join(repr(name) for name in names[:NAMED])
        return (
            f"{len(self):,} questions are of passages that the collection does not hold ({named}{more}); "
            "they are left out"
        )


def read_questions(path: Path | str) -> list[Question]:
    """Questions from JSON lines, in their order.

    A line is ``{"id": ..., "text": ..., "passage": ..., "kind": ..., "seed": ..., "split": ...}``. A person's
    own lines need only ``text`` and ``passage``: their kind is then ``own``, their split ``train``.

    Raises:
        DataError: missing or unreadable file, one without a question, or, with the line: no JSON object, an
            unknown key, a value that is missing or does not fit, an id that stands there twice.
    """
    path = Path(path)
    found: dict[str, Question] = {}
    for where, question in read_objects(path, _question):
        if question.id in found:
            raise DataError(f"{where}: question {question.id!r} stands there twice; remove one, or its id")
        found[question.id] = question
    if not found:
        raise DataError(f'{path}: holds no question; a line is {{"text": "...", "passage": "its id"}}')
    return list(found.values())


def write_questions(path: Path | str, questions: Iterable[Question]) -> int:
    """Write questions as JSON lines, whole or not at all; returns how many.

    Raises:
        StorageError: the disk is full or not writable.
    """
    number = 0
    with atomic_write(Path(path)) as handle:
        for question in questions:
            number += 1
            handle.write(f"{json.dumps(question.as_json(), ensure_ascii=False)}\n")
    return number


def known(questions: Sequence[Question], ids: Container[str]) -> tuple[list[Question], Dangling]:
    """The questions whose passage is there, and the others.

    Args:
        questions: of any kinds.
        ids: of the collection's passages.
    """
    there = [one for one in questions if one.passage in ids]
    return there, Dangling(tuple(one for one in questions if one.passage not in ids))


def _question(row: dict[str, Any]) -> Question:
    for key in row:
        if key not in KEYS:
            raise ValueError(f"unknown key {key!r:.80}{did_you_mean(key, KEYS)}")
    for key in ("text", "passage"):
        if not isinstance(row.get(key), str):
            raise ValueError(f"{key!r} is missing or no string; a question needs a text and a passage's id")
    kind, split, seed = row.get("kind", "own"), row.get("split", "train"), row.get("seed", 0)
    for key, value, choices in (("kind", kind, get_args(Kind)), ("split", split, get_args(Split))):
        if value not in choices:
            raise ValueError(f"{key} {value!r:.80} is unknown{did_you_mean(str(value), choices)}")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ValueError(f"seed {seed!r:.80} is no whole number")
    check_id(row["passage"], "passage")
    identifier = row.get("id", "")
    if identifier != "":
        check_id(identifier)
    question = Question(row["text"], row["passage"], kind, seed, identifier, split)
    checked_query(question.query)
    return question
