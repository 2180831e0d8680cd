"""Encoding of one shard, in this process or on another machine: passages in, a shard out."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search.encoder import Encoder, Encoding
from ernie_search.errors import DataError, ModelError
from ernie_search.shards import Manifest, Shard, ShardInfo, write_shard
from ernie_search.types import Passage


@dataclass(frozen=True, slots=True)
class Asked:
    """The passages of a shard, and how the folder wants them."""

    passages: list[Passage]
    model_name: str
    token_dim: int
    with_tokens: bool
    bf16: bool

    @staticmethod
    def of(passages: list[Passage], manifest: Manifest) -> "Asked":
        """As the folder's manifest says."""
        return Asked(
            passages,
            manifest.model_name,
            manifest.token_dim,
            manifest.with_tokens,
            manifest.precision == "bf16",
        )


@dataclass(frozen=True, slots=True)
class Made:
    """A shard, or the bytes of its file, and what the manifest says of it."""

    rows: int
    tokens: int
    first_id: str
    last_id: str
    truncated: int
    dim: int
    shard: Shard | None = None
    packed: NDArray[np.uint8] | None = None

    def info(self, file: str, sha256: str) -> ShardInfo:
        """The manifest's entry."""
        return ShardInfo(file, self.rows, self.tokens, self.first_id, self.last_id, self.truncated, sha256)


def prefers_bf16(model: Encoder, job: None, progress: Callable[[int], None] | None = None) -> bool:
    """Whether bf16 pays for ``model`` where this runs."""
    return model.prefers_bf16()


def encode_shard(model: Encoder, job: Asked, progress: Callable[[int], None] | None = None) -> Made:
    """The shard of these passages.

    Raises:
        ModelError: vectors that are not finite, or not one a passage.
        DataError: fields that JSON cannot hold.
    """
    return _made(model, job, progress, pack=False)


def encode_shard_packed(model: Encoder, job: Asked, progress: Callable[[int], None] | None = None) -> Made:
    """The same as the bytes of its file."""
    return _made(model, job, progress, pack=True)


def _made(model: Encoder, asked: Asked, progress: Callable[[int], None] | None, *, pack: bool) -> Made:
    encoding = model.encode_joint(
        [passage.full_text for passage in asked.passages],
        "passage",
        tokens=asked.with_tokens,
        progress=progress,
        bf16=asked.bf16,
    )
    shard = _shard(asked, encoding)
    result: dict[str, Any] = {"shard": shard}
    if pack:
        file = io.BytesIO()
        write_shard(file, shard)
        # An array travels without being copied once more; bytes do not.
        result = {"packed": np.frombuffer(file.getbuffer(), dtype=np.uint8)}
    return Made(
        rows=len(shard.ids),
        tokens=len(shard.tokens),
        first_id=shard.ids[0],
        last_id=shard.ids[-1],
        truncated=encoding.truncated,
        dim=shard.dense.shape[1],
        **result,
    )


def _shard(asked: Asked, encoding: Encoding) -> Shard:
    """Passages and their encoding, laid out as a shard stores them."""
    batch = asked.passages
    dense = np.asarray(encoding.dense, dtype=np.float32)
    token_dim = asked.token_dim if asked.with_tokens else 0
    matrices = list(encoding.tokens) if asked.with_tokens else [np.zeros((0, 0), np.float32)] * len(batch)
    ids = list(encoding.token_ids) if asked.with_tokens else [np.zeros(0, np.int32)] * len(batch)
    if dense.ndim != 2 or not len(dense) == len(matrices) == len(ids) == len(batch):
        raise ModelError(
            f"{asked.model_name}: gave {dense.shape} vectors and {len(matrices)} token matrices for "
            f"{len(batch)} passages; the model is broken"
        )
    for passage, vector, matrix in zip(batch, dense, matrices, strict=True):
        if not (np.isfinite(vector).all() and np.isfinite(matrix).all()):
            raise ModelError(
                f"{asked.model_name}: the vector of passage {passage.id!r} is not finite; "
                "train the model again or use another"
            )
    offsets = np.zeros(len(batch) + 1, dtype=np.int64)
    np.cumsum([len(matrix) for matrix in matrices], out=offsets[1:])
    tokens: NDArray[np.float16] = np.zeros((offsets[-1], token_dim), dtype=np.float16)
    token_ids: NDArray[np.int32] = np.zeros(offsets[-1], dtype=np.int32)
    for start, matrix, vocabulary in zip(offsets, matrices, ids, strict=False):
        if len(matrix):  # a text of nothing but special tokens has no rows
            tokens[start : start + len(matrix)] = matrix
            token_ids[start : start + len(matrix)] = vocabulary
    return Shard(
        ids=[passage.id for passage in batch],
        titles=[passage.title for passage in batch],
        texts=[passage.text for passage in batch],
        fields=[_json(passage) for passage in batch],
        dense=dense,
        tokens=tokens,
        token_ids=token_ids,
        offsets=offsets,
        parents=[passage.parent for passage in batch],
        starts=[passage.start for passage in batch],
    )


def _json(passage: Passage) -> str:
    try:
        return json.dumps(dict(passage.fields), ensure_ascii=False) if passage.fields else "{}"
    except (TypeError, ValueError) as error:
        raise DataError(f"passage {passage.id!r}: its fields cannot be written as JSON ({error})") from error
