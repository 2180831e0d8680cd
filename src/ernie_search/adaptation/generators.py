"""Models that write questions: a seq2seq model of the hub, or any OpenAI-compatible endpoint."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ernie_search.adaptation.answers import Estimate, Generator, check_prompt, read_text, valid
from ernie_search.adaptation.endpoint import Endpoint
from ernie_search.adaptation.sample import place
from ernie_search.errors import ModelError, SettingsError
from ernie_search.types import Passage

SCHEMES = ("hub", "openai")
BATCH = 16
"""Passages that a seq2seq model reads together."""
PASSAGE_TOKENS, QUESTION_TOKENS = 384, 48
TOP_K = 10
"""Of sampling, as docTTTTTquery has it (Nogueira and Lin 2019)."""


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

    address = gave_up = ""

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


def said_estimate(generator: Generator, estimate: Estimate | None) -> str:
    """What asking a generator takes, in words."""
    if estimate is None:
        return f"{generator.name} writes the questions on this machine"
    where = f", sent to {generator.address}" if generator.address else ""
    cost = "" if estimate.cost is None else f", about {estimate.cost:.2f} at these prices"
    return (
        f"{generator.name}: {estimate.requests:,} requests with the passages' texts{where}; about "
        f"{estimate.tokens_in:,} tokens to read and {estimate.tokens_out:,} to write{cost}"
    )


def check_estimate(generator: Generator, estimate: Estimate | None) -> None:
    """Refuse to begin what would not end within the generator's limits.

    Raises:
        SettingsError: says what is estimated, and which limit that breaks.
    """
    if estimate is not None and isinstance(generator, Endpoint):
        generator.check_limits(estimate)


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
    options = {key: value for key, value in endpoint.items() if value is not None}
    if prompt is not None:
        options["prompt"] = prompt
    return Endpoint(model, cache, say=say, **options)
