"""What a joint model takes from texts before its first step: what tokens weigh, where the head begins."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from ernie_search.errors import DataError, SettingsError
from ernie_search.model.encode import padded, tokenize
from ernie_search.model.joint import JointEncoder
from ernie_search.model.pooling import PoolingName, set_pooling, starting_weights, token_idf
from ernie_search.runtime.batches import micro_batches

QuestionWeights = Literal["even", "root", "idf"]
"""What tokens weigh: all alike, the root of their inverse document frequency, or that itself."""
POWERS: dict[str, float] = {"even": 0.0, "root": 0.5, "idf": 1.0}
HEAD_TEXTS = 400
"""Passages whose token states the head's projection is fitted to: some 50,000 states."""
BUDGET = 4_096


def fit_start(
    model: JointEncoder,
    texts: Sequence[str],
    *,
    pooling: PoolingName = "base",
    pooling_start: QuestionWeights = "idf",
    question_weights: QuestionWeights = "root",
    head: bool = True,
) -> None:
    """Fit a model with a fresh token head to passages, in place, before it is trained by a trainer of others.

    ``ernie-search train`` does the same by its settings of these names. The weights of question tokens count
    while training, and are not saved with the model: search takes its own from the index.

    Args:
        model: see :func:`~ernie_search.model.adopt`.
        texts: passages of the collection, some thousands at best; the head is fitted to the first
            400 of them.
        pooling: ``base`` keeps what the model has; ``weighted`` makes the single vector a mean under trained
            weights of tokens (give ``emb_layer`` a rate of 1e-2). It gains where layers were cut or the base
            was never trained for a mean, and loses on a base that was (benchmarks/NOTES.md).
        pooling_start: where these weights begin.
        question_weights: what a question's token counts in late interaction.
        head: let the token head begin as the projection that keeps most of the token states.

    Raises:
        DataError: no text.
        SettingsError: an unknown name.
        ModelError: see :func:`~ernie_search.model.pooling.set_pooling`.

    Example:
        >>> model = adopt(SentenceTransformer("sentence-transformers/all-MiniLM-L6-v2"))
        >>> fit_start(model, passages)
        >>> loss = ErnieSearchLoss(model)
    """
    if not texts:
        raise DataError("no text to count tokens in; give passages of the collection")
    for name, value in (("pooling_start", pooling_start), ("question_weights", question_weights)):
        if value not in POWERS:
            raise SettingsError(f"{name}={value!r}: choose one of {', '.join(POWERS)}")
    training = model.training
    model.eval()
    idf = token_idf(model, texts, vocabulary_of(model))
    weigh_tokens(model, idf, pooling, pooling_start, question_weights)
    if head:
        fit_head(model, list(texts[:HEAD_TEXTS]))
    model.train(training)


def vocabulary_of(model: JointEncoder) -> int:
    """Entries that a weight is needed for."""
    return max(len(model.tokenizer), int(model.backbone.config.vocab_size))


def weigh_tokens(
    model: JointEncoder, idf: NDArray[np.float32], pooling: PoolingName, start: str, question_weights: str
) -> None:
    """Set the pooling and the weights of question tokens by ``(V,)`` inverse document frequencies."""
    set_pooling(model, pooling, starting_weights(idf, POWERS[start]))
    if question_weights != "even":
        share = np.sqrt(idf) if question_weights == "root" else idf
        model.question_weights = torch.from_numpy(np.maximum(share, 1e-3)).to(model.device)


def fit_head(model: JointEncoder, texts: list[str]) -> None:
    """Let the head begin as the projection that keeps most of the token states' products (their PCA).

    The states are normalised and not centred, as late interaction compares them by their product.

    Args:
        model: in eval mode; its head is changed.
        texts: passages whose states are taken.
    """
    width = model.token_head.linear.in_features
    if model.token_dim >= width:
        return  # a rotation keeps all of them
    total = torch.zeros(width, width, dtype=torch.float64)
    ids = tokenize(model, texts, "passage")
    pad = model.tokenizer.pad_token_id or 0
    with torch.no_grad():
        for group in micro_batches([len(one) for one in ids.ids], BUDGET):
            features = padded([ids.ids[one] for one in group], pad, ids.prompt_length, model.device)
            found = model(dict(features))
            states = normalize(found["token_embeddings"][found["late_mask"]].double(), dim=-1).cpu()
            total += states.t() @ states
    _, vectors = torch.linalg.eigh(total)  # rising
    main = vectors[:, -model.token_dim :].flip(1).t()
    # Of the two directions of a vector, the one whose largest part is positive: machines may differ in it.
    largest = main.gather(1, main.abs().argmax(dim=1, keepdim=True))
    with torch.no_grad():
        model.token_head.linear.weight.copy_((main * largest.sign()).float())
