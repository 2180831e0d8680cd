"""What a student takes from its collection before the first step: what tokens weigh, where the head begins.

All of it is a function of the collection, the base and the settings, so that a resumed training begins alike.
"""

import hashlib
from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ernie_search.data import Collection
from ernie_search.model import JointEncoder, pooling
from ernie_search.model.beginning import HEAD_TEXTS, fit_head, vocabulary_of, weigh_tokens
from ernie_search.model.pooling import set_pooling
from ernie_search.training.settings import TrainSettings

COUNTED = 50_000
"""Passages whose tokens are counted: a token that none of them has is rare."""


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
        weigh_tokens(model, idf, settings.pooling, settings.pooling_start, settings.question_weights)
    else:
        set_pooling(model, settings.pooling)
    if fresh and settings.head == "pca" and settings.needs_tokens:
        fit_head(model, list(islice(_sampled(collection, HEAD_TEXTS), HEAD_TEXTS)))


def token_idf(model: JointEncoder, collection: Collection) -> NDArray[np.float32]:
    """``(V,)`` inverse document frequency of the model's vocabulary in the collection, or a sample of it."""
    return pooling.token_idf(model, _sampled(collection, COUNTED), vocabulary_of(model))


def _sampled(collection: Collection, number: int) -> Iterator[str]:
    """Texts of about ``number`` passages, chosen by a hash of their ids; all of a smaller collection."""
    share = min(1.0, number / max(1, sum(1 for _ in collection.passages())))
    for passage in collection.passages():
        place = int.from_bytes(hashlib.sha256(f"token:{passage.id}".encode()).digest()[:8], "big")
        if share == 1 or place < share * 2**64:
            yield passage.full_text
