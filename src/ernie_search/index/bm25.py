"""BM25 in memory: one implementation for the index in memory and for mining, scored as Lucene does."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search.errors import SettingsError
from ernie_search.index.topk import top_rows
from ernie_search.types import check_question

K1 = 0.9
B = 0.4
"""k1 and b of Anserini and BEIR's baseline for passages (Trotman et al. 2014). Qdrant gets the same ones;
LanceDB's word index has 1.2 and 0.75, which cannot be set."""


class WordIndex:
    """BM25 over n passages (Kamphuis et al., ECIR 2020, "Lucene (accurate)").

    Memory: 8 bytes per distinct word of each passage, several times that while building.

    Args:
        passages: the words of each passage, read once.
        k1: how fast repetitions of a word lose weight.
        b: how much long passages are held back, 0 to 1.
    """

    def __init__(self, passages: Iterable[Iterable[str]], *, k1: float = K1, b: float = B) -> None:
        import bm25s

        self._vocabulary: dict[str, int] = {}
        rows = [
            [self._vocabulary.setdefault(word, len(self._vocabulary)) for word in words] for words in passages
        ]
        self._passages = len(rows)
        self._index: Any = bm25s.BM25(method="lucene", k1=k1, b=b)
        if self._vocabulary:
            # our ids, not bm25s' own: it numbers words in the order of a set, which changes from run to run
            self._index.index((rows, self._vocabulary), create_empty_token=False, show_progress=False)

    def __len__(self) -> int:
        """Passages held."""
        return self._passages

    @property
    def has_words(self) -> bool:
        """Whether any passage has a word."""
        return bool(self._vocabulary)

    def best(
        self, words: Iterable[str], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Places and scores of the ``k`` best passages that share a word with a question.

        Args:
            words: of the question; one that repeats counts so often.
            k: how many; equal scores are in the order of the passages.
            allowed: ``(n,)``, the passages to choose from; None for all.
        """
        known = [self._vocabulary[word] for word in words if word in self._vocabulary]
        if not known:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        scores: NDArray[np.float32] = self._index.get_scores_from_ids(known)
        rows = np.flatnonzero(scores > 0 if allowed is None else (scores > 0) & allowed)
        best = rows[top_rows(scores[rows], k)]
        return best, scores[best]


def check_texts(texts: Sequence[str], k: int) -> None:
    """Refuse what no ranking by words can answer.

    Raises:
        SettingsError: ``k`` below 1, or one string where a list belongs.
        DataError: an empty text.
    """
    if isinstance(texts, str):
        raise SettingsError("a list of questions is needed, not one string; put it in brackets")
    if k < 1:
        raise SettingsError(f"k={k}: must be at least 1")
    for place, text in enumerate(texts):
        check_question(text, f"question {place + 1} of {len(texts)}")
