"""What a generator is, and what of its answers may pass for questions."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ernie_search._util.files import JSON
from ernie_search.adaptation.sentences import normal, sentences
from ernie_search.errors import SettingsError
from ernie_search.types import Passage

MOST_CHARACTERS = 4000
"""Of a passage that a generator reads."""
QUESTION_WORDS = (2, 40)
LONGEST_QUESTION = 400
"""Characters."""
ITEM = re.compile(r"^\s*(?:[-*\u2022]|\(?\d{1,3}[.):])\s+")
FENCE = re.compile(r"^```\w*$")
THOUGHTS = "think|thinking|thought|reasoning"
OPENED = re.compile(rf"^\s*(?:<(?:{THOUGHTS})>|\[THINK\]|\u25c1think\u25b7)", re.IGNORECASE)
CLOSED = re.compile(rf"</(?:{THOUGHTS})>|\[/THINK\]|\u25c1/think\u25b7", re.IGNORECASE)
"""Around a model's thoughts, where they are left in the answer: of Qwen and R1, of Magistral, of Kimi."""
QUOTES = "\"'\u201c\u201d\u2018\u2019\u00ab\u00bb"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What asking would take.

    Attributes:
        requests: to be made; those whose answers are kept are not.
        tokens_in, tokens_out: of these, estimated by characters.
        cost: in the unit of the prices; None where no prices were given.
    """

    requests: int
    tokens_in: int
    tokens_out: int
    cost: float | None = None


class Generator(Protocol):
    """Writes questions that passages answer."""

    @property
    def name(self) -> str:
        """What it was asked for as."""
        ...

    @property
    def prompt(self) -> str:
        """What it reads, with ``{passage}`` in the passage's place."""
        ...

    @property
    def address(self) -> str:
        """Where passages are sent; empty where it runs here."""
        ...

    @property
    def gave_up(self) -> str:
        """Why it writes no more, in words; empty while it does."""
        ...

    def estimate(self, passages: Sequence[Passage], number: int) -> Estimate | None:
        """What ``number`` questions of each passage take; None where that costs nothing but time."""
        ...

    def ask(self, passages: Sequence[Passage], number: int, seed: int) -> list[list[str]]:
        """Up to ``number`` questions of each passage, valid and different; none where it gave none."""
        ...


def valid(texts: Sequence[str], passage: Passage, number: int) -> list[str]:
    """What may pass for questions, of what a model wrote: each once, at most ``number``.

    A question has 2 to 40 words, letters among them, announces nothing (``Here are three questions:``) and
    is no copy of the passage.
    """
    found: dict[str, str] = {}
    for text in texts:
        one = " ".join(ITEM.sub("", text).split()).strip(QUOTES)
        parts = sentences(one)
        size = sum(part.size for part in parts)
        telling = any(word.telling for part in parts for word in part.words)
        fits = QUESTION_WORDS[0] <= size <= QUESTION_WORDS[1] and len(one) <= LONGEST_QUESTION
        if fits and telling and not one.endswith((":", "\uff1a")) and normal(one) != normal(passage.text):
            found.setdefault(normal(one), one)
    return list(found.values())[:number]


def lines_of(answer: str) -> list[str]:
    """The questions of an answer: its lines, or the strings of the JSON that it is, without thoughts."""
    answer = without_thoughts(answer)
    kept = "\n".join(line for line in answer.splitlines() if not FENCE.match(line.strip()))
    try:
        value: Any = JSON.decode(kept.strip())
    except (json.JSONDecodeError, RecursionError, ValueError):
        return kept.splitlines()
    if isinstance(value, dict):
        value = next((one for one in value.values() if isinstance(one, list)), [])
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else [str(value)]


def without_thoughts(answer: str) -> str:
    """What a model says after its thoughts; nothing where they have no end, as the tokens did not suffice.

    Some endpoints leave out the tag that opens them, so all before the last one that closes them is thought.
    """
    said = CLOSED.split(answer)[-1]
    return "" if OPENED.match(said) else said


def read_text(passage: Passage) -> str:
    """What a generator reads of a passage."""
    return passage.full_text[:MOST_CHARACTERS]


def check_prompt(prompt: str) -> None:
    """Refuse a prompt that has no place for the passage."""
    if "{passage}" not in prompt:
        raise SettingsError("the prompt has no {passage}, which stands for the passage's text; add it")
