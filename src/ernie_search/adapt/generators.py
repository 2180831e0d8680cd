"""Models that write questions: a seq2seq model of the hub, or any OpenAI-compatible endpoint."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ernie_search._util.files import JSON
from ernie_search.adapt.sample import place
from ernie_search.adapt.sentences import normal, sentences
from ernie_search.errors import ModelError, SettingsError
from ernie_search.types import Passage

SCHEMES = ("hub", "openai")
MOST_CHARACTERS = 4000
"""Of a passage that a generator reads."""
QUESTION_WORDS = (2, 40)
LONGEST_QUESTION = 400
"""Characters."""
ITEM = re.compile(r"^\s*(?:[-*\u2022]|\(?\d{1,3}[.):])\s+")
FENCE = re.compile(r"^```\w*$")
QUOTES = "\"'\u201c\u201d\u2018\u2019\u00ab\u00bb"

BATCH = 16
"""Passages that a seq2seq model reads together."""
PASSAGE_TOKENS, QUESTION_TOKENS = 384, 48
TOP_K = 10
"""Of sampling, as docTTTTTquery has it (Nogueira and Lin 2019)."""


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
    """The questions of an answer: its lines, or the strings of the JSON that it is."""
    kept = "\n".join(line for line in answer.splitlines() if not FENCE.match(line.strip()))
    try:
        value: Any = JSON.decode(kept.strip())
    except (json.JSONDecodeError, RecursionError, ValueError):
        return kept.splitlines()
    if isinstance(value, dict):
        value = next((one for one in value.values() if isinstance(one, list)), [])
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else [str(value)]


def read_text(passage: Passage) -> str:
    """What a generator reads of a passage."""
    return passage.full_text[:MOST_CHARACTERS]


class HubGenerator:
    """A seq2seq model (T5, BART) that was trained to write questions, as doc2query's are.

    Its questions depend on the seed and the passages that it is given together.

    Args:
        model: a directory or a hub name.
        prompt: what it reads, with ``{passage}`` in the passage's place.

    Raises:
        ModelError: it cannot be loaded, or is no seq2seq model.
        SettingsError: a prompt without ``{passage}``.
    """

    gave_up = ""

    def __init__(self, model: str, prompt: str = "{passage}") -> None:
        check_prompt(prompt)
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        self.name, self.prompt = f"hub:{model}", prompt
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
            self._model: Any = AutoModelForSeq2SeqLM.from_pretrained(model).eval()
        except (OSError, ValueError, KeyError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(
                f"{model}: cannot be loaded as a seq2seq model that writes questions ({first}); name a "
                "directory or a model of the hub such as doc2query/msmarco-t5-small-v1"
            ) from error

    def estimate(self, passages: Sequence[Passage], number: int) -> Estimate | None:
        """It runs here."""
        return None

    def ask(self, passages: Sequence[Passage], number: int, seed: int) -> list[list[str]]:
        """See ``Generator``; sampled, ``BATCH`` passages at a time."""
        found = []
        for start in range(0, len(passages), BATCH):
            found += self._batch(passages[start : start + BATCH], number, seed)
        return found

    def _batch(self, passages: Sequence[Passage], number: int, seed: int) -> list[list[str]]:
        import torch

        texts = [self.prompt.replace("{passage}", read_text(one)) for one in passages]
        read = self._tokenizer(
            texts, padding=True, truncation=True, max_length=PASSAGE_TOKENS, return_tensors="pt"
        )
        inputs = {name: read[name].to(self._model.device) for name in ("input_ids", "attention_mask")}
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(place(seed, *(one.id for one in passages)) >> 1)
            made = self._model.generate(
                **inputs,
                do_sample=True,
                top_k=TOP_K,
                num_return_sequences=number,
                max_new_tokens=QUESTION_TOKENS,
            )
        written = self._tokenizer.batch_decode(made, skip_special_tokens=True)
        return [
            valid(written[row * number : (row + 1) * number], passage, number)
            for row, passage in enumerate(passages)
        ]


def check_prompt(prompt: str) -> None:
    """Refuse a prompt that has no place for the passage."""
    if "{passage}" not in prompt:
        raise SettingsError("the prompt has no {passage}, which stands for the passage's text; add it")


def open_generator(
    name: str,
    *,
    cache: Path,
    prompt: str | None = None,
    say: Callable[[str], None] | None = None,
    **endpoint: Any,
) -> Generator:
    """A generator by its name.

    Args:
        name: ``hub:MODEL``, a seq2seq model by its directory or hub name; or ``openai:MODEL``, a chat model
            of an endpoint.
        cache: file of an endpoint's answers.
        prompt: what it reads, ``{passage}`` for the text; for endpoints also ``{number}``.
        say: told of what happens on the way.
        **endpoint: of ``openai:``; see ``Endpoint``.

    Raises:
        SettingsError: another name, or an option of ``openai:`` for a model of the hub.
        ModelError: the model cannot be loaded.
    """
    scheme, colon, model = name.partition(":")
    if not colon or scheme not in SCHEMES or not model.strip():
        raise SettingsError(f"{name}: no generator; name hub:MODEL or openai:MODEL")
    if scheme == "hub":
        given = sorted(key.replace("_", "-") for key, value in endpoint.items() if value is not None)
        if given:
            raise SettingsError(f"--{given[0]}: of an endpoint (openai:MODEL), not of {name}; leave it out")
        return HubGenerator(model) if prompt is None else HubGenerator(model, prompt)
    from ernie_search.adapt.endpoint import Endpoint

    options = {key: value for key, value in endpoint.items() if value is not None}
    if prompt is not None:
        options["prompt"] = prompt
    return Endpoint(model, cache, say=say, **options)
