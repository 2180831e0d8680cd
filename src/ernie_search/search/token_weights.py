"""Question tokens weighted by how rare they are in the collection, for late interaction."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ernie_search.encoder import Encoding
from ernie_search.errors import SettingsError
from ernie_search.index import Index

TokenWeights = Literal["auto", "idf", "none"]
"""``idf``: late interaction is a mean over the question's tokens weighted by their inverse document frequency
in the collection; ``none``: the plain mean. ``auto``: ``idf`` for plain encoders, whose raw token states say
nothing of which token matters; a trained head learnt that."""


class TokenStatistics(Protocol):
    """What is asked of a collection's statistics."""

    def token_weights(self, token_ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """``(Lq,)``: a weight for each token, none negative, of mean 1."""


def statistics_for(index: Index, choice: TokenWeights) -> TokenStatistics | None:
    """The statistics that weight a question's tokens; None where the plain mean is taken.

    Raises:
        SettingsError: ``idf`` where the index keeps no statistics.
    """
    if choice == "none" or (choice == "auto" and index.spec.encoder_kind != "plain"):
        return None
    found = index.statistics()
    if found is None and choice == "idf":
        raise SettingsError("token_weights='idf': this index keeps no statistics of its tokens; use 'none'")
    return found


def token_weights(
    statistics: TokenStatistics | None, token_ids: Sequence[int] | NDArray[np.int32]
) -> NDArray[np.float32]:
    """``(Lq,)`` weights of mean 1, one for each token; all 1 without statistics."""
    ids = np.asarray(token_ids, np.int32)
    if statistics is None or not len(ids):
        return np.ones(len(ids), np.float32)
    return np.asarray(statistics.token_weights(ids), np.float32)


def weighted_question(
    statistics: TokenStatistics | None,
    tokens: NDArray[np.float32],
    token_ids: Sequence[int] | NDArray[np.int32],
) -> NDArray[np.float32]:
    """A question's token matrix ``(Lq, d)``, each row times its token's weight.

    ``max_j <w q, p_j> = w max_j <q, p_j>``, so MaxSim over these rows is the weighted mean of cosines and, as
    the weights' mean is 1, within -1 and 1 like the plain one.
    """
    if statistics is None:
        return tokens
    weighted: NDArray[np.float32] = tokens * token_weights(statistics, token_ids)[:, None]
    return weighted


def weighted_questions(index: Index, encoding: Encoding, choice: TokenWeights) -> list[NDArray[np.float32]]:
    """The token matrices of encoded questions as late interaction takes them; see ``weighted_question``.

    Raises:
        SettingsError: see ``statistics_for``.
    """
    statistics = statistics_for(index, choice)
    pairs = zip(encoding.tokens, encoding.token_ids, strict=True)
    return [weighted_question(statistics, tokens, ids) for tokens, ids in pairs]
