"""BM25: the formula, once, and an index in memory that the index ``memory://`` and mining use."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ernie_search.errors import SettingsError
from ernie_search.index.topk import top_rows
from ernie_search.types import check_question

K1 = 0.9
B = 0.4
"""k1 and b of Anserini and BEIR's baseline for passages (Trotman et al. 2014), in every backend. LanceDB's
word index has 1.2 and 0.75, which cannot be set: it finds candidates, which are scored again with these."""

BLOCK = 4096
"""Passages whose words are counted together."""


def inverse_frequency(holders: NDArray[np.integer], passages: int) -> NDArray[np.float64]:
    """Lucene's idf of words that so many of the ``passages`` hold; above 0, largest where none does."""
    found = holders.astype(np.float64)
    inverse: NDArray[np.float64] = np.log1p((passages - found + 0.5) / (found + 0.5))
    return inverse


def term_scores(
    counts: NDArray[np.integer],
    lengths: NDArray[np.integer],
    average: float,
    inverse: NDArray[np.float64],
    k1: float = K1,
    b: float = B,
) -> NDArray[np.float32]:
    """What words add to a passage's score (Kamphuis et al., ECIR 2020, "Lucene (accurate)"); below their idf.

    Args:
        counts: ``(n,)``, how often the passage has the word.
        lengths: ``(n,)``, words of the passage.
        average: of all passages.
        inverse: ``(n,)``, the word's idf.
        k1: how slowly repetitions of a word lose weight.
        b: how much long passages are held back, 0 to 1.
    """
    found = counts.astype(np.float64)
    held_back = k1 * (1 - b + b * lengths / max(average, 1e-9))
    return (inverse * found / (found + held_back)).astype(np.float32)


class WordIndex:
    """BM25 over n passages: for each word the passages that have it, with what it adds to their scores.

    Memory: 8 bytes per distinct word of each passage, several times that while building.

    Args:
        passages: the words of each passage, read once.
        k1: how fast repetitions of a word lose weight.
        b: how much long passages are held back, 0 to 1.
    """

    def __init__(self, passages: Iterable[Iterable[str]], *, k1: float = K1, b: float = B) -> None:
        self._vocabulary: dict[str, int] = {}
        words, rows, counts, lengths = _counted(passages, self._vocabulary)
        self._passages = len(lengths)
        holders = np.bincount(words, minlength=len(self._vocabulary))
        order = np.argsort(words, kind="stable")  # so the passages of a word are in their order
        words, self._rows = words[order], rows[order]
        average = float(lengths.mean()) if len(lengths) else 0.0
        inverse = inverse_frequency(holders, self._passages)
        self._scores = term_scores(counts[order], lengths[self._rows], average, inverse[words], k1, b)
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(holders)])

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
        scores = self.scores(words)
        rows = np.flatnonzero(scores > 0 if allowed is None else (scores > 0) & allowed)
        best = rows[top_rows(scores[rows], k)]
        return best, scores[best]

    def scores(self, words: Iterable[str]) -> NDArray[np.float32]:
        """``(n,)`` scores of all passages, 0 for one that shares no word with a question."""
        scores = np.zeros(self._passages, np.float32)
        for word in words:
            one = self._vocabulary.get(word)
            if one is not None:
                held = slice(self._starts[one], self._starts[one + 1])
                np.add.at(scores, self._rows[held], self._scores[held])  # twice as fast as scores[...] +=
        return scores


def _counted(
    passages: Iterable[Iterable[str]], vocabulary: dict[str, int]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Word, passage and count of each distinct word of each passage, and ``(n,)`` lengths of the passages."""
    parts: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]] = []
    lengths: list[int] = []
    for block in _blocks(passages, vocabulary):
        sizes = [len(one) for one in block]
        rows = np.repeat(np.arange(len(lengths), len(lengths) + len(block), dtype=np.int64), sizes)
        words = np.fromiter((one for row in block for one in row), np.int64, sum(sizes))
        pairs, counts = np.unique(rows << 32 | words, return_counts=True)
        parts.append(
            ((pairs & 0xFFFFFFFF).astype(np.int32), (pairs >> 32).astype(np.int32), counts.astype(np.int32))
        )
        lengths += sizes
    none = np.zeros(0, np.int32)
    return (
        np.concatenate([none, *(part[0] for part in parts)]),
        np.concatenate([none, *(part[1] for part in parts)]),
        np.concatenate([none, *(part[2] for part in parts)]),
        np.asarray(lengths, np.int64),
    )


def _blocks(passages: Iterable[Iterable[str]], vocabulary: dict[str, int]) -> Iterator[list[list[int]]]:
    """Numbers of the words of ``BLOCK`` passages at a time; new words get the next number."""
    block: list[list[int]] = []
    for words in passages:
        block.append([vocabulary.setdefault(word, len(vocabulary)) for word in words])
        if len(block) == BLOCK:
            yield block
            block = []
    if block:
        yield block


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
