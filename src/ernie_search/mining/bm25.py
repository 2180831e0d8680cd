"""BM25 over a collection, as a run: the word-based baseline, and the source of the first hard negatives."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.files import did_you_mean
from ernie_search._util.words import LANGUAGES, counted_words, detect_language
from ernie_search.errors import DataError, SettingsError
from ernie_search.index.bm25 import K1, B, WordIndex
from ernie_search.types import Passage, Query, Run

LUCENE_STOP_WORDS = (
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these "
    "they this to was will with"
)
"""The 33 English ones of Lucene's StandardAnalyzer."""

SAMPLE = 400
"""Passages that the language is detected from."""


class BM25:
    """An index of title and text of passages in memory; see :class:`ernie_search.index.bm25.WordIndex`.

    Args:
        passages: read once; their ids and words are kept, not their texts.
        stop_words: "en" leaves out Lucene's 33 English ones, None counts every word.
        language: count words as an index in that language does (``counted_words``), with its own stop words
            and stems; "auto" detects it from the first passages. None counts words as they stand.
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
        language: str | None = None,
        k1: float = K1,
        b: float = B,
    ) -> None:
        if stop_words not in ("en", None):
            raise SettingsError(f"stop_words is {stop_words!r}; choose 'en' or None")
        if k1 < 0 or not 0 <= b <= 1:
            raise SettingsError(f"k1 is {k1} and b is {b}; choose k1 of at least 0 and b from 0 to 1")
        if language is not None and language not in ("auto", *LANGUAGES):
            raise SettingsError(f"language is {language!r}{did_you_mean(language, ('auto', *LANGUAGES))}")
        if language == "auto":
            read = iter(passages)
            first = list(islice(read, SAMPLE))
            language = detect_language(passage.full_text for passage in first)
            passages = chain(first, read)
        self.language = language or "none"
        plain = stop_words == "en" and self.language == "none"
        left_out = frozenset(LUCENE_STOP_WORDS.split() if plain else ())
        self.passage_ids: list[str] = []
        self._places: dict[str, int] = {}  # filled when scores of given passages are first asked for

        def counted() -> Iterator[Iterable[str]]:
            for passage in passages:
                self.passage_ids.append(passage.id)
                found = counted_words(passage.full_text, self.language)
                yield (word for word in found if word not in left_out)

        self._index = WordIndex(counted(), k1=k1, b=b)
        if len(set(self.passage_ids)) < len(self._index):
            raise DataError(
                f"two passages have the id {_first_repeated(self.passage_ids)!r}; ids must differ"
            )
        if not self._index.has_words:
            raise DataError(
                f"BM25: none of the {len(self._index)} passages has a word to count; check the collection"
            )

    def scores(self, question: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """``(n,)`` scores of given passages for a question's text; 0 for one that shares no word with it.

        Raises:
            DataError: an id that the index lacks.
        """
        if not self._places:
            self._places = {name: place for place, name in enumerate(self.passage_ids)}
        try:
            rows = [self._places[name] for name in passages]
        except KeyError as error:
            raise DataError(f"BM25: passage {error.args[0]!r} is not in the collection; add it") from None
        return self._index.scores(counted_words(question, self.language))[rows]

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
            rows, scores = self._index.best(counted_words(query.text, self.language), k)
            pairs = zip(rows.tolist(), scores.tolist(), strict=True)
            run[query.id] = {self.passage_ids[row]: score for row, score in pairs}
        return run


def _first_repeated(ids: list[str]) -> str:
    seen: set[str] = set()
    return next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
