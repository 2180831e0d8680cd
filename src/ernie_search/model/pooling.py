"""How token states become the single vector: the base's own way, their mean, [CLS], or a weighted mean.

``v = sum_t w_t h_t / sum_t w_t`` with a weight for each entry of the vocabulary, which starts at its inverse
document frequency and is trained. Late interaction lets a rare word decide; a plain mean gives it one part in
a hundred, so that the single vector cannot follow. On disk this is ``WordWeights`` before a mean pooling, two
modules of sentence-transformers: any SentenceTransformer reads them, and nothing of ours is needed.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, WordWeights
from torch import Tensor

from ernie_search.errors import ModelError, SettingsError
from ernie_search.model.base import is_causal
from ernie_search.model.encode import TextReader, tokenize

PoolingName = Literal["base", "mean", "cls", "weighted"]
"""``base``: as the base model has it."""
LEAST_WEIGHT = 0.01
"""Weights stay above this share of their usual size, 1. A negative one would turn a token's state round."""
TOGETHER = 1_000
"""Texts that are tokenized together."""


def word_weights(model: SentenceTransformer) -> WordWeights | None:
    """The module that weighs tokens; None where the model has none."""
    found: list[Any] = [one for one in model if isinstance(one, WordWeights)]
    return found[0] if found else None


def inverse_document_frequency(ids: Iterable[Sequence[int]], vocabulary: int) -> NDArray[np.float32]:
    """Lucene's idf of every entry of a vocabulary: ``ln(1 + (N - df + 0.5) / (df + 0.5))``.

    Args:
        ids: the token ids of N texts.
        vocabulary: V.

    Returns:
        ``(V,)``; an entry that no text has is as rare as one can be.
    """
    holders, texts = np.zeros(vocabulary, np.int64), 0
    for one in ids:
        holders[np.unique(np.asarray(one, np.int64))] += 1
        texts += 1
    inverse: NDArray[np.float32] = np.log1p((texts - holders + 0.5) / (holders + 0.5)).astype(np.float32)
    return inverse


def token_idf(model: TextReader, texts: Iterable[str], vocabulary: int) -> NDArray[np.float32]:
    """``(V,)``: :func:`inverse_document_frequency` of the tokens that a model reads of passages."""

    def ids() -> Iterator[Sequence[int]]:
        waiting = iter(texts)
        while block := list(islice(waiting, TOGETHER)):
            yield from tokenize(model, block, "passage").ids

    return inverse_document_frequency(ids(), vocabulary)


def starting_weights(idf: NDArray[np.float32], power: float = 1.0) -> NDArray[np.float32]:
    """Weights to begin with: a power of idf over its mean, of the entries that occur."""
    raised = idf**power
    among = raised[idf < idf.max()]
    mean = float(among.mean()) if len(among) else 1.0
    weights: NDArray[np.float32] = np.maximum(raised / max(mean, 1e-6), LEAST_WEIGHT).astype(np.float32)
    return weights


def set_pooling(
    model: SentenceTransformer, pooling: PoolingName, weights: NDArray[np.float32] | None = None
) -> None:
    """Change how a model makes its single vector, in place.

    Args:
        model: a Transformer, a pooling, and what follows.
        pooling: how; ``base`` changes nothing, and ``weighted`` keeps weights that the model has already.
        weights: ``(V,)``, for each entry of the vocabulary; for ``weighted``. All 1 by default.

    Raises:
        SettingsError: an unknown name.
        ModelError: no pooling to change, or [CLS] of a decoder, whose first token knows nothing of the
            others.
    """
    if pooling not in get_args(PoolingName):
        raise SettingsError(f"pooling={pooling!r}: choose one of {', '.join(get_args(PoolingName))}")
    if pooling == "base":
        return
    modules: list[Any] = list(model)
    pools = [place for place, one in enumerate(modules) if isinstance(one, Pooling)]
    if len(pools) != 1:
        raise ModelError(
            f"pooling={pooling}: this model has {len(pools)} pooling modules; set pooling to base"
        )
    if pooling == "cls" and is_causal(modules[0].auto_model):
        raise ModelError(
            "pooling=cls: the first token of a decoder is the same for every text; set pooling to base, mean "
            "or weighted"
        )
    before = word_weights(model)
    if pooling == "weighted" and before is not None and modules[pools[0]].pooling_mode == "mean":
        return
    old = modules[pools[0]]
    width = modules[0].get_embedding_dimension()
    if old.get_embedding_dimension() != width:
        raise ModelError(
            f"pooling={pooling}: this model joins several poolings into one vector; set pooling to base"
        )
    mode: Any = "mean" if pooling == "weighted" else pooling
    modules[pools[0]] = Pooling(width, mode, include_prompt=old.include_prompt)
    modules = [one for one in modules if not isinstance(one, WordWeights)]
    if pooling == "weighted":
        modules.insert(1, _module(model, weights))
        modules[0].unpad_inputs = False  # WordWeights reads padded rows
    model._modules = OrderedDict((str(place), one) for place, one in enumerate(modules))
    model.module_kwargs = None


def _module(model: SentenceTransformer, weights: NDArray[np.float32] | None) -> WordWeights:
    tokenizer: Any = model.tokenizer
    transformer: Any = model[0]
    size = max(len(tokenizer), int(transformer.auto_model.config.vocab_size))
    names = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    names += [f"[{place}]" for place in range(len(tokenizer), size)]
    module = WordWeights(vocab=names, word_weights={}, unknown_word_weight=1.0)
    if weights is not None:
        with torch.no_grad():
            module.emb_layer.weight[: len(weights), 0] = torch.from_numpy(np.asarray(weights, np.float32))
    return module.to(model.device)


def note_weights(model: SentenceTransformer) -> None:
    """Write trained weights where ``WordWeights`` reads them when it is loaded: into its config."""
    module = word_weights(model)
    if module is not None:
        keep_positive(module.emb_layer.weight)  # the last step may have taken one below
        values = module.emb_layer.weight.detach().float().cpu()[:, 0].tolist()
        module.word_weights = dict(zip(module.vocab, values, strict=True))


def keep_positive(weights: Tensor) -> None:
    """Put weights that a step took below :data:`LEAST_WEIGHT` back there."""
    with torch.no_grad():
        if bool((weights < LEAST_WEIGHT).any()):
            weights.clamp_(min=LEAST_WEIGHT)
