"""What a student takes from its collection before the first step: what tokens weigh, where the head begins.

All of it is a function of the collection, the base and the settings, so that a resumed training begins alike.
"""

import hashlib
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from ernie_search.data import Collection
from ernie_search.model import JointEncoder, pooling
from ernie_search.model.encode import padded, tokenize
from ernie_search.model.pooling import set_pooling, starting_weights
from ernie_search.runtime.batches import micro_batches
from ernie_search.training.settings import TrainSettings

COUNTED = 50_000
"""Passages whose tokens are counted: a token that none of them has is rare."""
HEAD_TEXTS = 400
"""Passages whose token states the head's projection is fitted to: some 50,000 states."""
BUDGET = 4_096


def begin(model: JointEncoder, collection: Collection, settings: TrainSettings, *, fresh: bool) -> None:
    """Set the student's pooling, the weights of question tokens and, where it is fresh, its head.

    Args:
        model: the student, in eval mode.
        collection: whose passages say how often a token occurs.
        settings: ``pooling``, ``question_weights`` and ``head`` count here.
        fresh: whether the head was just made; a trained one stays.

    Raises:
        ModelError: see :func:`~ernie_search.model.pooling.set_pooling`.
    """
    if settings.pooling == "weighted" or (settings.question_weights != "even" and settings.needs_tokens):
        idf = token_idf(model, collection)
        powers = {"even": 0.0, "root": 0.5, "idf": 1.0}
        set_pooling(model, settings.pooling, starting_weights(idf, powers[settings.pooling_start]))
        if settings.question_weights != "even":
            share = np.sqrt(idf) if settings.question_weights == "root" else idf
            model.question_weights = torch.from_numpy(np.maximum(share, 1e-3)).to(model.device)
    else:
        set_pooling(model, settings.pooling)
    if fresh and settings.head == "pca" and settings.needs_tokens:
        fit_head(model, list(islice(_sampled(collection, HEAD_TEXTS), HEAD_TEXTS)))


def token_idf(model: JointEncoder, collection: Collection) -> NDArray[np.float32]:
    """``(V,)`` inverse document frequency of the model's vocabulary in the collection, or a sample of it."""
    vocabulary = max(len(model.tokenizer), int(model.backbone.config.vocab_size))
    return pooling.token_idf(model, _sampled(collection, COUNTED), vocabulary)


def _sampled(collection: Collection, number: int) -> Iterator[str]:
    """Texts of about ``number`` passages, chosen by a hash of their ids; all of a smaller collection."""
    share = min(1.0, number / max(1, sum(1 for _ in collection.passages())))
    for passage in collection.passages():
        place = int.from_bytes(hashlib.sha256(f"token:{passage.id}".encode()).digest()[:8], "big")
        if share == 1 or place < share * 2**64:
            yield passage.full_text


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
