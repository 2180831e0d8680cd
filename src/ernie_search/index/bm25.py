"""BM25 in memory over words that are already found, for the stores without files or a server."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.words import words
from ernie_search.errors import SettingsError
from ernie_search.index.exact import top_rows
from ernie_search.index.protocol import Ranking
from ernie_search.types import check_question

K1 = 1.2
B = 0.75
"""Lucene's constants (Robertson and Zaragoza 2009, section 3.3), and LanceDB's."""


class WordIndex:
    """n passages in the order of their ids; for each word those that have it, and what it adds there."""

    def __init__(self, ids: Sequence[str], texts: Sequence[str]) -> None:
        """Count the words in ``texts``, which are joined by spaces."""
        self.ids = list(ids)
        counts = [Counter(text.split()) for text in texts]
        lengths = [sum(one.values()) for one in counts]
        average = max(sum(lengths) / max(len(lengths), 1), 1.0)
        postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for row, (one, length) in enumerate(zip(counts, lengths, strict=True)):
            for word, count in one.items():
                weight = count * (K1 + 1) / (count + K1 * (1 - B + B * length / average))
                postings[word].append((row, weight))
        self._postings: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        for word, found in postings.items():
            rows, weights = zip(*found, strict=True)
            idf = math.log(1 + (len(ids) - len(rows) + 0.5) / (len(rows) + 0.5))
            self._postings[word] = (np.asarray(rows, np.int64), np.asarray(weights) * idf)

    def best(self, text: str, k: int, allowed: NDArray[np.bool_] | None = None) -> Ranking:
        """The ``k`` best passages that share a word with ``text``, of those ``allowed`` (``(n,)``)."""
        scores = np.zeros(len(self.ids))
        for word, count in Counter(words(text)).items():
            if word in self._postings:
                rows, weights = self._postings[word]
                scores[rows] += count * weights
        if allowed is not None:
            scores[~allowed] = 0.0
        found = np.flatnonzero(scores)
        values = scores[found].astype(np.float32)
        best = top_rows(values, k)
        return Ranking([self.ids[row] for row in found[best].tolist()], values[best])


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
