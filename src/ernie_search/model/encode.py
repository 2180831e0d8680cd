"""Encoding of texts: tokenize once, sort by length, run micro-batches under a token budget."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BatchEncoding

from ernie_search._util.hardware import prefers_bf16
from ernie_search.errors import ModelError
from ernie_search.model.output import EncoderOutput
from ernie_search.runtime.batches import (
    CPU_TOKEN_BUDGET,
    GPU_TOKEN_BUDGET,
    LONE_TOKENS,
    Encoded,
    Tokenized,
    micro_batches,
    padded_ids,
)
from ernie_search.types import Task


class TextReader(Protocol):
    """A model that gives both readings of texts, as far as :func:`encode_texts` uses it: a JointEncoder."""

    attach_tokens: bool

    @property
    def training(self) -> bool:
        """Whether it is in training mode."""

    @property
    def name(self) -> str:
        """What to call the model in messages."""

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer, as transformers has it."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def prompt_of(self, task: Task) -> str:
        """The prompt put before texts of this task."""

    def length_of(self, task: Task) -> int:
        """Tokens kept of a text of this task, special tokens included."""

    def get_embedding_dimension(self) -> int | None:
        """``D``, the width of a single vector."""

    def train(self, mode: bool = True) -> Any:
        """Switch between training and eval mode."""

    def batch_of(
        self, ids: Sequence[Sequence[int]], task: Task, prompt_length: int | None
    ) -> dict[str, torch.Tensor]:
        """One micro-batch as ``read`` takes it; mostly what :func:`padded` makes."""

    def read(self, features: dict[str, torch.Tensor]) -> EncoderOutput:
        """Both readings of one micro-batch."""


_TURNS: WeakKeyDictionary[TextReader, threading.RLock] = WeakKeyDictionary()
_TURNS_LOCK = threading.Lock()
"""Kept beside the models, since a lock can be neither copied nor pickled."""


def tokenizer_output(model: TextReader, texts: Sequence[str], task: Task) -> BatchEncoding:
    """What the tokenizer returns for texts as ``model`` reads them: with the prompt, cut to its length.

    Raises:
        ModelError: the tokenizer has no fast version, and so no offsets.
    """
    prompt = model.prompt_of(task)
    encoding: BatchEncoding = model.tokenizer(
        [prompt + text for text in texts] if prompt else list(texts),
        truncation=True,
        max_length=model.length_of(task),
        padding=False,
        return_token_type_ids=False,
        return_attention_mask=False,
    )
    if encoding.encodings is None:
        raise ModelError(f"{model.name}: its tokenizer has no fast version; choose a base that has one")
    return encoding


def tokenize(model: TextReader, texts: Sequence[str], task: Task) -> Tokenized:
    """Tokenize with the prompt and the length limit of ``task``, and count what was cut."""
    prompt, tokenizer = model.prompt_of(task), model.tokenizer
    encoding = tokenizer_output(model, texts, task)
    truncated = sum(1 for one in encoding.encodings or () if one.overflowing)
    prompt_length = None
    if prompt:
        # Special tokens at the end of an encoded prompt are not part of it (as sentence-transformers counts).
        prompt_ids = tokenizer(prompt)["input_ids"]
        prompt_length = len(prompt_ids) - int(prompt_ids[-1] in tokenizer.all_special_ids)
    # Where a tokenizer adds no token of its own, an empty text has none, and nothing to read.
    ids = [one or [tokenizer.pad_token_id] for one in encoding["input_ids"]]
    return Tokenized(ids, truncated, prompt_length)


def padded(
    ids: Sequence[Sequence[int]], pad: int, prompt_length: int | None, device: torch.device | None = None
) -> dict[str, torch.Tensor]:
    """sentence-transformers' features for one micro-batch, padded to its longest text.

    Where all texts are of one length, as they mostly are after sorting, there is no mask: attention
    without one is faster.
    """
    matrix, mask = padded_ids(ids, pad)
    features = {"input_ids": torch.from_numpy(matrix).to(device)}
    if not mask.all():
        features["attention_mask"] = torch.from_numpy(mask).to(device)
    if prompt_length is not None:
        features["prompt_length"] = torch.tensor([prompt_length])
    return features


def bf16_pays(device: torch.device) -> bool:
    """Whether this machine is faster in bf16, as measured."""
    return prefers_bf16(device.type)


def autocast(device: torch.device, bf16: bool | None = None) -> contextlib.AbstractContextManager[object]:
    """bf16 autocast if asked for, by default where it is faster; otherwise a context that does nothing.

    Where no gradient is wanted, combine it with ``no_grad``, not ``inference_mode``: there autocast does not
    keep the weights that it has cast, and casts all of them again for every micro-batch.
    """
    if bf16_pays(device) if bf16 is None else bf16:
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def _threads_for(tokens: int) -> Iterator[None]:
    """Run a few tokens on one thread, and more on all of torch's threads."""
    before = torch.get_num_threads()
    few = tokens <= LONE_TOKENS and before > 1
    if few:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if few:
            torch.set_num_threads(before)


def turn_of(model: TextReader) -> threading.RLock:
    """The lock that is held while ``model`` encodes.

    The model and its tokenizer keep settings between calls, so threads that share a model would change each
    other's (and the tokenizer refuses). One pass uses all cores anyway.
    """
    with _TURNS_LOCK:
        return _TURNS.setdefault(model, threading.RLock())


def encode_texts(
    model: TextReader,
    texts: Sequence[str],
    task: Task,
    *,
    tokens: bool = True,
    token_budget: int | None = None,
    progress: Callable[[int], None] | None = None,
    bf16: bool | None = None,
) -> Encoded:
    """Encode ``texts`` in length-sorted micro-batches; threads that share a model take turns.

    Args:
        model: the joint encoder; put into eval mode, and left as it was.
        texts: N texts, in any order of length.
        task: decides prompt and length limit.
        tokens: also hand out the token matrices.
        token_budget: padded tokens a micro-batch; by default what suits the device.
        progress: called with the number of texts done in each micro-batch.
        bf16: whether to compute in bf16; by default where that is faster on this machine.

    Returns:
        Encoded, in the order of ``texts``.
    """
    dense = np.zeros((len(texts), model.get_embedding_dimension() or 0), dtype=np.float32)
    if not texts:
        return Encoded(dense)
    with turn_of(model):
        device = model.device
        budget = token_budget or (CPU_TOKEN_BUDGET if device.type == "cpu" else GPU_TOKEN_BUDGET)
        tokenized = tokenize(model, texts, task)
        matrices: list[NDArray[np.float32]] = [np.zeros((0, 0), np.float32)] * len(texts) if tokens else []
        kept_ids: list[NDArray[np.int32]] = [np.zeros(0, np.int32)] * len(texts) if tokens else []
        was_training, had_tokens = model.training, model.attach_tokens
        model.train(False)
        model.attach_tokens = tokens
        try:
            total = sum(len(ids) for ids in tokenized.ids)
            with torch.no_grad(), autocast(device, bf16), _threads_for(total):
                for places in micro_batches([len(ids) for ids in tokenized.ids], budget):
                    batch = [tokenized.ids[place] for place in places]
                    features = model.batch_of(batch, task, tokenized.prompt_length)
                    ids = features["input_ids"].cpu().numpy()
                    output = model.read(features)
                    dense[places] = output.cls.cpu().numpy()
                    if output.tokens is not None and output.mask is not None:
                        rows, masks = output.tokens.cpu().numpy(), output.mask.cpu().numpy()
                        for place, row, mask, own in zip(places, rows, masks, ids, strict=True):
                            matrices[place] = row[mask]
                            kept_ids[place] = own[mask].astype(np.int32)
                    if progress is not None:
                        progress(len(places))
        finally:
            model.train(was_training)
            model.attach_tokens = had_tokens
    return Encoded(dense, matrices, kept_ids, tokenized.truncated)
