"""The exact index in memory: one matrix product finds the best passages of a small corpus."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.files import JSON
from ernie_search._util.words import words
from ernie_search.errors import IndexStateError
from ernie_search.index.bm25 import WordIndex, check_texts
from ernie_search.index.exact import best_rows, longest
from ernie_search.index.protocol import IndexStats, Ranking, TokenMatrices, check_vectors
from ernie_search.shards import Manifest, Shard, read_manifest, read_shards
from ernie_search.types import Hit, Passage


class MemoryIndex:
    """All vectors and token matrices in memory; search is exact. For corpora to about 50,000 passages."""

    capabilities = frozenset({"bm25"})
    """As of a ``Store``; filters need its typed fields."""

    def __init__(self, manifest: Manifest, shards: Iterable[Shard]) -> None:
        """Fill from shards; ``open`` is the usual way here."""
        self._manifest = manifest
        self._ids: list[str] = []
        self._titles: list[str] = []
        self._texts: list[str] = []
        self._fields: list[str] = []
        self._parents: list[str | None] = []
        self._starts: list[int | None] = []
        token_dim = manifest.token_dim if manifest.with_tokens else 0
        self._dense: NDArray[np.float32] = np.empty((manifest.passages, manifest.dim), dtype=np.float32)
        self._tokens: NDArray[np.float16] = np.empty((manifest.tokens, token_dim), dtype=np.float16)
        self._token_ids: NDArray[np.int32] = np.empty(manifest.tokens, dtype=np.int32)
        self._offsets: NDArray[np.int64] = np.zeros(manifest.passages + 1, dtype=np.int64)
        row = token = 0
        for shard in shards:
            stop, token_stop = row + len(shard.ids), token + len(shard.tokens)
            self._dense[row:stop] = shard.dense
            self._tokens[token:token_stop] = shard.tokens
            self._token_ids[token:token_stop] = shard.token_ids
            self._offsets[row + 1 : stop + 1] = token + shard.offsets[1:]
            self._ids += shard.ids
            self._titles += shard.titles
            self._texts += shard.texts
            self._fields += shard.fields
            self._parents += shard.parents
            self._starts += shard.starts
            row, token = stop, token_stop
        self._longest = longest(self._dense)
        self._words: WordIndex | None = None
        self._rows = {passage: place for place, passage in enumerate(self._ids)}
        self._has_parents = any(parent is not None for parent in self._parents)

    @classmethod
    def open(cls, path: Path | str, *, verify: bool = True) -> "MemoryIndex":
        """Load the shards that ``encode_collection`` wrote.

        Args:
            path: their folder.
            verify: check each file's SHA-256.

        Raises:
            IndexStateError: the folder is missing or unfinished, or a shard is missing or damaged.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise IndexStateError(f"{folder}: no such index; make one with: ernie-search index")
        return cls(read_manifest(folder), read_shards(folder, verify=verify))

    @property
    def model_name(self) -> str:
        """The model that made the vectors."""
        return self._manifest.model_name

    @property
    def model_fingerprint(self) -> str:
        """That model's fingerprint."""
        return self._manifest.model_fingerprint

    @property
    def has_tokens(self) -> bool:
        """Whether token matrices are stored."""
        return self._manifest.with_tokens

    @property
    def has_parents(self) -> bool:
        """Whether any passage is a piece of a longer document."""
        return self._has_parents

    def __len__(self) -> int:
        """Passages held."""
        return len(self._ids)

    def nearest(self, dense: NDArray[np.float32], k: int) -> list[Ranking]:
        """The ``k`` best passages for each of the ``(Q, D)`` vectors (or one ``(D,)``); all of them if fewer.

        Raises:
            SettingsError, DataError, IndexStateError: see ``check_vectors``.
        """
        vectors = check_vectors(dense, self._dense.shape[1], k)
        return [
            Ranking([self._ids[row] for row in rows.tolist()], scores)
            for rows, scores in best_rows(self._dense, vectors, k, self._longest)
        ]

    def bm25(self, texts: Sequence[str], k: int = 10) -> list[Ranking]:
        """The ``k`` best passages that share a word with each text; the words are counted at the first call.

        Raises:
            SettingsError, DataError: see ``check_texts``.
        """
        check_texts(texts, k)
        if self._words is None:
            pairs = zip(self._titles, self._texts, strict=True)
            counted = (" ".join(words(f"{title} {text}" if title else text)) for title, text in pairs)
            self._words = WordIndex(self._ids, list(counted))
        return [self._words.best(text, k) for text in texts]

    def search(self, dense: NDArray[np.float32], k: int = 10) -> list[list[Hit]]:
        """As ``nearest``, with text, title and fields."""
        results = []
        for ranking in self.nearest(dense, k):
            pairs = zip(self.get(ranking.ids), ranking.scores.tolist(), strict=True)
            results.append(
                [
                    Hit(p.id, score, p.text, p.title, p.fields, {"dense": score}, p.id, p.parent, p.start)
                    for p, score in pairs
                ]
            )
        return results

    def fetch_tokens(self, ids: Sequence[str]) -> TokenMatrices:
        """The token matrices of passages, in the order asked for.

        Raises:
            IndexStateError: an id is unknown, or no token matrices were stored.
        """
        if not self.has_tokens:
            raise IndexStateError(
                "this index holds no token matrices, so late interaction is not possible; "
                "use mode dense or index again with tokens"
            )
        rows = self._places(ids)
        bounds = [(self._offsets[row], self._offsets[row + 1]) for row in rows]
        offsets = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([stop - start for start, stop in bounds], out=offsets[1:])
        if not rows:
            return TokenMatrices(self._tokens[:0], self._token_ids[:0], offsets)
        return TokenMatrices(
            np.concatenate([self._tokens[start:stop] for start, stop in bounds]),
            np.concatenate([self._token_ids[start:stop] for start, stop in bounds]),
            offsets,
        )

    def get(self, ids: Sequence[str]) -> list[Passage]:
        """Passages by id, in the order asked for.

        Raises:
            IndexStateError: an id is unknown.
        """
        return [
            Passage(
                self._ids[row],
                self._texts[row],
                self._titles[row],
                JSON.decode(self._fields[row]),
                self._parents[row],
                self._starts[row],
            )
            for row in self._places(ids)
        ]

    def parents(self, ids: Sequence[str]) -> list[str]:
        """The document that each passage is a piece of; its own id where it stands alone."""
        places = self._places(ids)
        return [
            one if (parent := self._parents[row]) is None else parent
            for one, row in zip(ids, places, strict=True)
        ]

    def stats(self) -> IndexStats:
        """Counts and sizes."""
        arrays = (self._dense, self._tokens, self._token_ids, self._offsets)
        return IndexStats(
            kind="memory, exact",
            passages=len(self),
            dim=self._dense.shape[1],
            tokens=len(self._tokens),
            token_dim=self._tokens.shape[1],
            memory_bytes=sum(array.nbytes for array in arrays),
            model_name=self.model_name,
            model_fingerprint=self.model_fingerprint,
        )

    def close(self) -> None:
        """Nothing is held open: memory goes with the object."""

    def _places(self, ids: Sequence[str]) -> list[int]:
        try:
            return [self._rows[one] for one in ids]
        except KeyError as error:
            raise IndexStateError(f"no passage {error.args[0]!r} in this index of {len(self)}") from None
