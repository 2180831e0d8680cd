"""Questions that are encoded already, in the place of the model: so that search can be batched apart."""

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search.encoder import Encoder, Encoding
from ernie_search.types import Task


@dataclass(frozen=True, slots=True)
class Row:
    """One text's vectors: ``dense (D,)``; ``tokens (L, d)``, ``token_ids (L,)``, None where not asked for."""

    dense: NDArray[np.float32]
    tokens: NDArray[np.float32] | None = None
    token_ids: NDArray[np.int32] | None = None


@dataclass(slots=True)
class Rows:
    """Several texts' vectors, as ``Encoding`` has them."""

    dense: NDArray[np.float32]
    tokens: list[NDArray[np.float32]] = field(default_factory=list)
    token_ids: list[NDArray[np.int32]] = field(default_factory=list)
    truncated: int = 0


def split(encoding: Encoding) -> list[Row]:
    """An encoding, text by text."""
    count = len(encoding.dense)
    matrices: list[NDArray[np.float32] | None] = [*encoding.tokens] or [None] * count
    ids: list[NDArray[np.int32] | None] = [*encoding.token_ids] or [None] * count
    return [Row(*parts) for parts in zip(encoding.dense, matrices, ids, strict=True)]


def joined(rows: Sequence[Row], *, tokens: bool = True) -> Rows:
    """Rows as one encoding."""
    dense = np.stack([row.dense for row in rows])
    if not tokens or any(row.tokens is None for row in rows):
        return Rows(dense)
    matrices = [row.tokens for row in rows if row.tokens is not None]
    return Rows(dense, matrices, [row.token_ids for row in rows if row.token_ids is not None])


class Prepared:
    """The model as search sees it: it hands out what is there, and asks the real one for the rest."""

    def __init__(
        self,
        model: Encoder,
        tokenizer: Any,
        lock: threading.Lock,
        rows: Mapping[str, Row] | None = None,
    ) -> None:
        """Stand in for ``model``.

        Args:
            model: the real one.
            tokenizer: a copy of its tokenizer for this thread: fast tokenizers break when two threads use one
                with different settings.
            lock: held while the real model works.
            rows: questions and their vectors.
        """
        self._model, self._lock, self._rows = model, lock, dict(rows or {})
        self.name, self.fingerprint, self.token_dim = model.name, model.fingerprint, model.token_dim
        self.tokenizer = tokenizer

    def with_rows(self, rows: Mapping[str, Row]) -> "Prepared":
        """The same with other questions."""
        other = copy.copy(self)  # the fingerprint may be costly to ask for
        other._rows = dict(rows)
        return other

    def prefers_bf16(self) -> bool:
        """See ``Encoder``."""
        return self._model.prefers_bf16()

    def encode_joint(
        self,
        texts: Sequence[str],
        task: Task,
        *,
        tokens: bool = True,
        token_budget: int | None = None,
        progress: Callable[[int], None] | None = None,
        bf16: bool | None = None,
    ) -> Encoding:
        """See ``Encoder``."""
        rows = [self._rows.get(text) for text in texts] if task == "query" else [None]
        known = [row for row in rows if row is not None and (row.tokens is not None or not tokens)]
        if texts and len(known) == len(texts):
            return joined(known, tokens=tokens)
        with self._lock:
            return self._model.encode_joint(
                texts, task, tokens=tokens, token_budget=token_budget, progress=progress, bf16=bf16
            )
