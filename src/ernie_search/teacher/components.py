"""Components of a teacher beside cross-encoders: late interaction of a frozen model, and BM25."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.files import did_you_mean
from ernie_search.data import Collection
from ernie_search.errors import SettingsError
from ernie_search.index.bm25 import K1, B
from ernie_search.mining import BM25
from ernie_search.model.beginning import QuestionWeights
from ernie_search.model.loading import AnyEncoder, load
from ernie_search.model.pooling import token_idf

TOGETHER = 128
"""Passages whose token matrices are held at once: 70 MB at 180 tokens of 768 numbers."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with the passages to score.

    Attributes:
        text: of the question.
        passages: their ids.
    """

    text: str
    passages: tuple[str, ...]


class LateScores:
    """Late interaction of a frozen model as a teacher: ``sum_i w_i max_j <q_i, p_j> / sum_i w_i``.

    Any model that :func:`~ernie_search.model.loading.load` takes: one of ours with its token head, a ColBERT,
    or a plain encoder, whose tokens are the states of its last layer, of length one. The scores are cosines,
    mostly between 0.3 and 1.

    Attributes:
        name: the model's directory or name.
        question_weights: of a question's tokens. ``idf`` and ``root`` count in how many passages of the
            collection each token occurs, as the model reads them; special tokens get the mean of the others.
    """

    def __init__(
        self,
        model: str | Path | AnyEncoder,
        collection: Collection,
        *,
        question_weights: QuestionWeights = "even",
        device: str | None = None,
    ) -> None:
        """Prepare; the model is loaded, and the collection's tokens counted, on first use.

        Raises:
            SettingsError: unknown question weights.
        """
        known = get_args(QuestionWeights)
        if question_weights not in known:
            raise SettingsError(
                f"question weights {question_weights!r}{did_you_mean(question_weights, known)}"
            )
        self.name = str(model) if isinstance(model, str | Path) else model.name
        self.question_weights = question_weights
        self._model, self._collection, self._device = model, collection, device

    @cached_property
    def model(self) -> AnyEncoder:
        """The model, in eval mode.

        Raises:
            ModelError: it cannot be loaded.
        """
        if isinstance(self._model, str | Path):
            return load(self._model, device=self._device)
        return self._model

    @property
    def key(self) -> dict[str, str]:
        """What the scores depend on, beside the collection."""
        return {"late": self.model.fingerprint, "late_question_weights": self.question_weights}

    def scores(
        self, asked: Sequence[Asked], texts: Mapping[str, str], *, bf16: bool | None = None
    ) -> list[NDArray[np.float32]]:
        """Scores of each question's passages, float32.

        Each distinct passage is encoded once; ``TOGETHER`` token matrices are held at a time, beside those of
        the questions.

        Args:
            asked: questions with their passages.
            texts: title and text of every passage by its id.
            bf16: whether to encode in bf16; by default where that is faster.
        """
        found = [np.zeros(len(one.passages), np.float32) for one in asked]
        read = self.model.encode_joint([one.text for one in asked], "query", bf16=bf16)
        weights = [self._weights(ids) for ids in read.token_ids]
        places: dict[str, list[tuple[int, int]]] = {}
        for row, one in enumerate(asked):
            for column, passage in enumerate(one.passages):
                places.setdefault(passage, []).append((row, column))
        # Of like length, so that there is little padding.
        waiting = iter(sorted(places, key=lambda passage: len(texts[passage])))
        while group := list(islice(waiting, TOGETHER)):
            matrices = self.model.encode_joint([texts[one] for one in group], "passage", bf16=bf16).tokens
            for passage, matrix in zip(group, matrices, strict=True):
                for row, column in places[passage]:
                    best = (read.tokens[row] @ matrix.T).max(axis=1)
                    found[row][column] = float(weights[row] @ best)
        return found

    def _weights(self, ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """``(L,)`` weights of a question's tokens, which sum to 1."""
        even = np.full(len(ids), 1 / max(1, len(ids)), np.float32)
        if self.question_weights == "even":
            return even
        own = self._token_weights[ids].copy()
        special = np.isin(ids, self.model.tokenizer.all_special_ids)
        if special.all():
            return even
        own[special] = own[~special].mean()
        share: NDArray[np.float32] = (own / own.sum()).astype(np.float32)
        return share

    @cached_property
    def _token_weights(self) -> NDArray[np.float32]:
        """``(V,)`` weight of every token of the vocabulary, all above 0."""
        texts = (one.full_text for one in self._collection.passages())
        inverse = token_idf(self.model, texts, len(self.model.tokenizer))
        return inverse**0.5 if self.question_weights == "root" else inverse


class BM25Scores:
    """BM25 over the whole collection as a teacher, with its statistics; scores mostly between 0 and 40.

    The words of all passages are held: 8 bytes per distinct word of each, several times that while building.
    """

    name = "BM25"

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    @cached_property
    def index(self) -> BM25:
        """The collection's words."""
        return BM25(self._collection.passages())

    @property
    def key(self) -> dict[str, str]:
        """What the scores depend on, beside the collection."""
        return {"bm25": f"k1={K1}, b={B}"}

    def scores(self, asked: Sequence[Asked]) -> list[NDArray[np.float32]]:
        """Scores of each question's passages, float32; 0 where they share no word.

        Raises:
            DataError: a passage that the collection lacks.
        """
        return [self.index.scores(one.text, one.passages) for one in asked]
