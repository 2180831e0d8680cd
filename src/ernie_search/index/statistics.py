"""What a collection knows of its words and tokens: how many passages hold each, so how much each says.

A file of them is read where it lies (``numpy.memmap``): a question looks up a dozen words, and must not wait
for a vocabulary to be built. A word is found by a 64-bit hash of it that is the same in every process; of
5,000,000 words two share one with a chance of one in a million.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ernie_search._util.files import atomic_write
from ernie_search._util.words import counted_words
from ernie_search.errors import IndexStateError
from ernie_search.index.bm25 import inverse_frequency, term_scores
from ernie_search.index.token_ids import unpack_many

MARK = b"ernie-search statistics 1\n"
"""A file's first line; the second is JSON, padded so that the arrays begin at a multiple of 64 bytes."""
ALIGNED = 64


@dataclass(frozen=True, eq=False)
class Statistics:
    """How often words and tokens occur in a collection.

    Attributes:
        passages: N.
        average_words: words of a passage, on average.
        language: how texts were made into words; see ``counted_words``.
        hashes: ``(V,)`` uint64, of the words, rising.
        counts: ``(V,)`` uint32, the passages that hold each.
        token_ids: ``(T,)`` int32, of the model's vocabulary, rising, those that a token matrix holds; none
            where no token matrices are stored.
        token_counts: ``(T,)`` uint32, the passages that hold each.
    """

    passages: int
    average_words: float
    language: str
    hashes: NDArray[np.uint64]
    counts: NDArray[np.uint32]
    token_ids: NDArray[np.int32]
    token_counts: NDArray[np.uint32]

    def holders(self, words: Sequence[str]) -> NDArray[np.int64]:
        """How many passages hold each of the words; 0 for one that none has."""
        wanted = np.asarray([word_hash(one) for one in words], np.uint64)
        return _looked_up(wanted, self.hashes, self.counts)

    def word_idf(self, words: Sequence[str]) -> NDArray[np.float64]:
        """Lucene's idf of each word: ``ln(1 + (N - df + 0.5) / (df + 0.5))``."""
        return inverse_frequency(self.holders(words), self.passages)

    def most(self, text: str) -> float:
        """What BM25 of a question stays below, whatever the passage: the sum of its words' idf.

        A word that repeats counts so often, as it does for BM25. One that no passage has counts, too, and as
        the rarest: so the share that a passage reaches is small where words say little about what is meant.
        0 for a question without words.
        """
        return float(self.word_idf(counted_words(text, self.language)).sum())

    def token_weights(self, token_ids: Sequence[int] | NDArray[np.integer]) -> NDArray[np.float32]:
        """Weights of a question's tokens for late interaction: their idf, scaled so that their mean is 1.

        Args:
            token_ids: ``(Lq,)``; an id that no passage has weighs most.

        Returns:
            ``(Lq,)``; all 1 where the collection tells no token from another.
        """
        ids = np.asarray(token_ids, np.int32).reshape(-1)
        inverse = inverse_frequency(_looked_up(ids, self.token_ids, self.token_counts), self.passages)
        total = inverse.sum()
        if total <= 0:
            return np.ones(len(ids), np.float32)
        weights: NDArray[np.float32] = (inverse * (len(ids) / total)).astype(np.float32)
        return weights

    def scores(self, text: str, passages: Sequence[str]) -> NDArray[np.float32]:
        """BM25 of a question with passages.

        Args:
            text: the question.
            passages: n times the words of a passage, separated by spaces, as an index stores them.

        Returns:
            ``(n,)``; 0 where they share no word. The same as ``WordIndex`` gives over the same collection.
        """
        asked = counted_words(text, self.language)
        scores = np.zeros(len(passages), np.float32)
        if not asked:
            return scores
        found, lengths = word_counts(asked, passages)
        for counts, inverse in zip(found, self.word_idf(asked), strict=True):
            scores += term_scores(counts, lengths, self.average_words, np.full(len(counts), inverse))
        return scores

    def write(self, path: Path) -> None:
        """Write the file that ``read_statistics`` reads.

        Raises:
            StorageError: see ``atomic_write``.
        """
        about = {
            "passages": self.passages,
            "average_words": self.average_words,
            "language": self.language,
            "words": len(self.hashes),
            "tokens": len(self.token_counts),
        }
        head = MARK + json.dumps(about).encode()
        head += b" " * (-(len(head) + 1) % ALIGNED) + b"\n"
        with atomic_write(path, "wb") as handle:
            handle.write(head)
            for values in (self.hashes, self.counts, self.token_ids, self.token_counts):
                handle.write(values.astype(values.dtype.newbyteorder("<")).tobytes())


def read_statistics(path: Path) -> Statistics:
    """The statistics of a file; of the arrays only what is looked up is read.

    Raises:
        IndexStateError: it is missing, or is not such a file.
    """
    try:
        with open(path, "rb") as handle:
            if handle.readline() != MARK:
                raise ValueError("its first line is another")
            about = json.loads(handle.readline())
            start = handle.tell()
            held = os.fstat(handle.fileno()).st_size - start
        words, tokens = int(about["words"]), int(about["tokens"])
        ends = np.cumsum([8 * words, 4 * words, 4 * tokens, 4 * tokens]).tolist()
        if held != ends[-1]:
            raise ValueError(f"it holds {held} bytes of counts, {ends[-1]} were written")
        raw = np.memmap(path, np.uint8, "r", start, (held,)) if held else np.zeros(0, np.uint8)
        return Statistics(
            int(about["passages"]),
            float(about["average_words"]),
            str(about["language"]),
            raw[: ends[0]].view("<u8"),
            raw[ends[0] : ends[1]].view("<u4"),
            raw[ends[1] : ends[2]].view("<i4"),
            raw[ends[2] :].view("<u4"),
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise IndexStateError(
            f"{path}: statistics that cannot be read ({reason}); run: ernie-search index optimize"
        ) from error


def word_counts(
    asked: Sequence[str], passages: Sequence[str]
) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """How often each passage has each of the asked words, and how many words it has.

    All passages are looked at together, as bytes: a third of the time of taking each apart. A word is told
    by its length, its first and its last eight bytes, which is all of it up to sixteen; longer ones that are
    alike so far are compared.

    Args:
        asked: words, in any number.
        passages: n times words separated by spaces.

    Returns:
        For each asked word ``(n,)`` counts, and ``(n,)`` lengths.
    """
    encoded = [one.encode() for one in passages]
    joined = b" " * 8 + b" ".join(encoded) + b" " * 8  # so that eight bytes can be read everywhere
    flat = np.frombuffer(joined, np.uint8)
    blanks = np.flatnonzero(flat == ord(" "))
    sizes = np.diff(blanks) - 1
    starts, sizes = blanks[:-1][sizes > 0] + 1, sizes[sizes > 0]
    eight: NDArray[np.uint64] = np.ndarray((len(flat) - 7,), "<u8", joined, 0, (1,))
    masks = np.asarray([(1 << 8 * min(size, 8)) - 1 for size in range(9)], np.uint64)[np.minimum(sizes, 8)]
    first, last = eight[starts] & masks, eight[starts + np.maximum(sizes - 8, 0)] & masks
    bounds = 8 + np.cumsum([0, *(len(one) + 1 for one in encoded)])
    rows = np.searchsorted(bounds, starts, "right") - 1
    found = []
    for word in asked:
        raw = word.encode()
        head, tail = (int.from_bytes(part, "little") for part in (raw[:8], raw[-8:]))
        places = np.flatnonzero((first == np.uint64(head)) & (sizes == len(raw)))
        places = places[last[places] == np.uint64(tail)]
        if len(raw) > 16:
            same = [joined[start : start + len(raw)] == raw for start in starts[places].tolist()]
            places = places[np.asarray(same, bool)]
        found.append(np.bincount(rows[places], minlength=len(passages)))
    return found, np.bincount(rows, minlength=len(passages))


def word_hash(word: str) -> int:
    """64 bits of BLAKE2b: of every process and machine the same."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def count_statistics(batches: Iterable[pa.RecordBatch], language: str) -> Statistics:
    """Count a collection.

    Args:
        batches: its rows, with the columns ``words`` and, where token matrices are stored, ``token_ids`` and
            ``token_count``.
        language: how their texts were made into words.
    """
    words: Counter[str] = Counter()
    tokens: Counter[int] = Counter()
    passages = total = 0
    for batch in batches:
        passages += batch.num_rows
        for text in batch.column("words").to_pylist():
            held = text.split()
            total += len(held)
            words.update(set(held))
        if "token_ids" in batch.schema.names:
            ids, counts = _holders(
                batch.column("token_ids").to_pylist(), batch.column("token_count").to_pylist()
            )
            for one, count in zip(ids.tolist(), counts.tolist(), strict=True):
                tokens[one] += count
    hashes = np.fromiter(map(word_hash, words), np.uint64, len(words))
    numbers = np.fromiter(tokens, np.int32, len(tokens))
    by_hash, by_number = np.argsort(hashes), np.argsort(numbers)
    return Statistics(
        passages,
        total / max(passages, 1),
        language,
        hashes[by_hash],
        np.fromiter(words.values(), np.uint32, len(words))[by_hash],
        numbers[by_number],
        np.fromiter(tokens.values(), np.uint32, len(tokens))[by_number],
    )


def _holders(blobs: Sequence[bytes], lengths: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids, and how many of the passages hold each; a blob is one passage's ids (``pack_ids``)."""
    ids = unpack_many(blobs, lengths).view(np.uint32).astype(np.int64)
    rows = np.repeat(np.arange(len(blobs)), lengths)
    pairs = np.unique(rows << 32 | ids)
    return np.unique((pairs & 0xFFFFFFFF).astype(np.uint32).view(np.int32), return_counts=True)


def _looked_up(wanted: NDArray[Any], keys: NDArray[Any], counts: NDArray[np.uint32]) -> NDArray[np.int64]:
    """The count of each key; 0 where it is not among the rising ``keys``."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found: NDArray[np.int64] = np.where(keys[places] == wanted, counts[places], 0).astype(np.int64)
    return found
