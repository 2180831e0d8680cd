"""BM25 in memory: the word-based baseline, and the source of the first hard negatives."""

from collections.abc import Iterable
from typing import Any, Literal

import bm25s
import numpy as np
from bm25s.stopwords import STOPWORDS_EN
from numpy.typing import NDArray

from ernie_search._util.words import words
from ernie_search.errors import DataError, SettingsError
from ernie_search.types import Passage, Query, Run

K1 = 0.9
B = 0.4
"""k1 and b of Anserini and BEIR's baseline for passages (Trotman et al. 2014)."""


class BM25:
    """An index of title and text of passages in memory, scored as Lucene does (Kamphuis et al., ECIR 2020).

    Memory: 8 bytes per distinct word of each passage, several times that while building.

    Args:
        passages: read once; their ids and words are kept, not their texts.
        stop_words: "en" leaves out Lucene's 33 English ones, None counts every word.
        k1: how slowly repetitions of a word lose weight.
        b: how much long passages are penalised, 0 to 1.

    Raises:
        DataError: no passage, none with a word in it, or an id twice.
        SettingsError: unknown stop words, k1 below 0, or b outside 0 to 1.
    """

    def __init__(
        self,
        passages: Iterable[Passage],
        stop_words: Literal["en"] | None = "en",
        *,
        k1: float = K1,
        b: float = B,
    ) -> None:
        if stop_words not in ("en", None):
            raise SettingsError(f"stop_words is {stop_words!r}; choose 'en' or None")
        if k1 < 0 or not 0 <= b <= 1:
            raise SettingsError(f"k1 is {k1} and b is {b}; choose k1 of at least 0 and b from 0 to 1")
        self._stop_words = frozenset(STOPWORDS_EN) if stop_words == "en" else frozenset()
        self._vocabulary: dict[str, int] = {}
        self.passage_ids: list[str] = []
        rows: list[list[int]] = []
        for passage in passages:
            self.passage_ids.append(passage.id)
            rows.append(
                [
                    self._vocabulary.setdefault(word, len(self._vocabulary))
                    for word in words(passage.full_text)
                    if word not in self._stop_words
                ]
            )
        if len(set(self.passage_ids)) < len(rows):
            raise DataError(
                f"two passages have the id {_first_repeated(self.passage_ids)!r}; ids must differ"
            )
        if not self._vocabulary:
            raise DataError(
                f"BM25: none of the {len(rows)} passages has a word to count; check the collection"
            )
        self._index: Any = bm25s.BM25(method="lucene", k1=k1, b=b)
        # our ids, not bm25s' own: it numbers words in the order of a set, which differs between processes
        self._index.index((rows, self._vocabulary), create_empty_token=False, show_progress=False)

    def search(self, queries: Iterable[Query], k: int = 100) -> Run:
        """The at most ``k`` best passages of each query, best first.

        Only passages that share a word with the query (score above 0) are listed, so a query may have fewer,
        or none, and is in the run even so. Equal scores keep the order of the passages. One query is scored
        at a time, with (N,) float32 scores for N passages in memory.

        Raises:
            SettingsError: ``k`` below 1.
            DataError: two queries with the same id.
        """
        if k < 1:
            raise SettingsError(f"BM25: k is {k}; ask for at least 1 passage")
        run: Run = {}
        for query in queries:
            if query.id in run:
                raise DataError(f"two queries have the id {query.id!r}; ids must differ")
            run[query.id] = {self.passage_ids[row]: score for row, score in self._best(query.text, k)}
        return run

    def _best(self, text: str, k: int) -> list[tuple[int, float]]:
        """Rows and scores of the best passages of one query."""
        known = [self._vocabulary[w] for w in words(text) if w in self._vocabulary]
        if not known:
            return []
        scores: NDArray[np.float32] = self._index.get_scores_from_ids(known)
        rows = np.flatnonzero(scores > 0)
        found = scores[rows]
        if rows.size > k:
            # everything from the k-th score up, with all its ties, so that the stable sort chooses among them
            reached = found >= np.partition(found, rows.size - k)[rows.size - k]
            rows, found = rows[reached], found[reached]
        order = np.argsort(-found, kind="stable")[:k]
        return list(zip(rows[order].tolist(), found[order].tolist(), strict=True))


def _first_repeated(ids: list[str]) -> str:
    seen: set[str] = set()
    return next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
