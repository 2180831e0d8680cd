"""An encoder without weights: every word has a vector that its own letters decide."""

import re
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ernie_search.encoder import EncoderKind, Pieces
from ernie_search.types import Passage, Task


@dataclass
class StubEncoding:
    dense: np.ndarray
    tokens: list[np.ndarray] = field(default_factory=list)
    token_ids: list[np.ndarray] = field(default_factory=list)
    truncated: int = 0


class StubEncoder:
    """Token vectors are hashed words; the single vector is their mean, of length one.

    ``bf16`` is what it measures, as it were; in bf16 its vectors are coarser, so that a mixture would show.
    """

    kind: EncoderKind = "joint"

    def __init__(self, name="stub", fingerprint="f00d", dim=16, longest=12, delay=0.0, bf16=False) -> None:
        self.name, self.fingerprint = name, fingerprint
        self.token_dim, self.longest, self.delay, self.bf16 = dim, longest, delay, bf16
        self.calls: list[tuple[Task, int]] = []

    def pieces(self, text: str) -> Pieces:
        """Words and single marks; the id is a checksum."""
        found = list(re.finditer(r"\w+|[^\w\s]", text))
        ids = [zlib.crc32(one.group().lower().encode()) % 2**31 for one in found]
        return Pieces(ids, [one.span() for one in found], list(range(len(found))))

    def token_texts(self, ids: Sequence[int]) -> list[str]:
        return [f"#{one}" for one in ids]

    def prefers_bf16(self) -> bool:
        return self.bf16

    def encode_joint(
        self,
        texts: Sequence[str],
        task: Task,
        *,
        tokens: bool = True,
        token_budget: int | None = None,
        progress: Callable[[int], None] | None = None,
        bf16: bool | None = None,
    ) -> StubEncoding:
        self.calls.append((task, len(texts)))
        time.sleep(self.delay)
        whole = [self.pieces(text).ids for text in texts]
        ids = [np.asarray(one[: self.longest], dtype=np.int32) for one in whole]
        matrices = [self._words(one) for one in ids]
        means = [
            matrix.sum(0) if len(matrix) else np.zeros(self.token_dim, np.float32) for matrix in matrices
        ]
        dense = np.stack([mean / max(float(np.linalg.norm(mean)), 1e-9) for mean in means]).astype(np.float32)
        if self.bf16 if bf16 is None else bf16:
            dense, *matrices = (one.astype(np.float16).astype(np.float32) for one in (dense, *matrices))
        if progress is not None:
            progress(len(texts))
        truncated = sum(len(one) > self.longest for one in whole)
        return StubEncoding(dense, matrices if tokens else [], ids if tokens else [], truncated)

    def _words(self, ids: np.ndarray) -> np.ndarray:
        rows = [np.random.default_rng(int(one)).standard_normal(self.token_dim) for one in ids]
        matrix = np.asarray(rows, dtype=np.float32).reshape(len(ids), self.token_dim)
        return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def numbered_passages(count: int, seed: int = 0) -> list[Passage]:
    """Passages of 3 to 20 made-up words, some with a title and fields."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        words = [f"w{word}" for word in random.integers(0, 400, random.integers(3, 20))]
        title = f"title{number}" if number % 3 == 0 else ""
        made.append(Passage(f"p{number}", " ".join(words), title, {"n": number} if number % 2 else {}))
    return made
