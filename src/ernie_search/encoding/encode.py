"""Encode a collection into Parquet shards, one at a time; an interrupted run goes on where it stopped."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ernie_search.encoder import Encoder, Encoding
from ernie_search.encoding.folder import begin_or_resume, exclusive
from ernie_search.errors import DataError, IndexStateError, ModelError, SettingsError
from ernie_search.files import atomic_write, sha256_file
from ernie_search.shards import Manifest, Shard, ShardInfo, shard_name, write_shard
from ernie_search.types import Passage


@dataclass(frozen=True, slots=True)
class EncodedCollection:
    """A finished folder of shards.

    Attributes:
        path: the folder.
        passages: how many it holds.
        truncated: how many of them were longer than the model reads.
        tokens: token vectors stored.
        encoded: passages that this call encoded; the others were there already.
        seconds: spent encoding, over all interrupted runs.
    """

    path: Path
    passages: int
    truncated: int
    tokens: int
    encoded: int
    seconds: float


def encode_collection(
    model: Encoder,
    passages: Iterable[Passage],
    output: Path,
    *,
    data_fingerprint: str,
    shard_size: int = 4096,
    with_tokens: bool = True,
    model_path: Path | str | None = None,
    progress: Callable[[int], None] | None = None,
) -> EncodedCollection:
    """Encode ``passages`` into ``output``; after any interruption the same call goes on with what is missing.

    Args:
        model: gives vectors and token matrices.
        passages: streamed; on resume read again from the start, and those already encoded are skipped.
        output: the folder of shards, made if needed.
        data_fingerprint: of the collection; the folder is refused to any other.
        shard_size: passages held in memory, and lost at most to an interruption.
        with_tokens: store token matrices (fp16) too; without them only dense search is possible.
        model_path: the model's directory, noted in the manifest so that search finds it by itself.
        progress: called with the number of passages done since its last call, skipped ones included.

    Returns:
        EncodedCollection. A finished folder is checked (SHA-256) and left alone.

    Raises:
        DataError: no passages, an id that repeats, or a passage without text.
        IndexStateError: the folder is of another model or other data, or another process writes into it.
        ModelError: the model gave vectors that are not finite.
        StorageError: the disk is full or read-only. Finished shards stay.
    """
    if shard_size < 1:
        raise SettingsError(f"shard_size={shard_size}: must be at least 1 passage")
    with exclusive(output):
        manifest = begin_or_resume(
            model,
            output,
            data_fingerprint=data_fingerprint,
            shard_size=shard_size,
            with_tokens=with_tokens,
            model_path=model_path,
        )
        encoded = 0
        if manifest.complete:
            if progress is not None:
                progress(manifest.passages)
        else:
            encoded = _encode_missing(model, passages, output, manifest, progress)
    return EncodedCollection(
        output, manifest.passages, manifest.truncated, manifest.tokens, encoded, manifest.seconds
    )


def _encode_missing(
    model: Encoder,
    passages: Iterable[Passage],
    output: Path,
    manifest: Manifest,
    progress: Callable[[int], None] | None,
) -> int:
    """Encode the shards that ``manifest`` lacks; the number of passages encoded."""
    done = {info.file: info for info in manifest.shards}
    started, before = time.perf_counter(), manifest.seconds
    encoded = number = 0
    for number, batch in enumerate(_batches(_checked(passages), manifest.shard_size), start=1):
        name = shard_name(number - 1)
        if name in done:
            _check_same(output / name, done[name], batch)
            if progress is not None:
                progress(len(batch))
            continue
        encoding = model.encode_joint(
            [passage.full_text for passage in batch],
            "passage",
            tokens=manifest.with_tokens,
            progress=progress,
            bf16=manifest.precision == "bf16",
        )
        shard = _shard(batch, encoding, manifest)
        with atomic_write(output / name, "wb") as handle:
            write_shard(handle, shard)
        done[name] = ShardInfo(
            file=name,
            rows=len(batch),
            tokens=len(shard.tokens),
            first_id=batch[0].id,
            last_id=batch[-1].id,
            truncated=encoding.truncated,
            sha256=sha256_file(output / name),
        )
        encoded += len(batch)
        manifest.dim = shard.dense.shape[1]
        manifest.shards = [done[file] for file in sorted(done)]
        manifest.seconds = round(before + time.perf_counter() - started, 3)
        manifest.write(output)
    if number == 0:
        raise DataError(f"{output}: no passages to encode; check the collection")
    if number < len(done):
        raise IndexStateError(
            f"{output}: holds {len(done)} shards, the collection now fills {number}; "
            "delete the folder and index again"
        )
    manifest.complete = True
    manifest.write(output)
    return encoded


def _checked(passages: Iterable[Passage]) -> Iterator[Passage]:
    """Pass the passages on, refusing repeated ids and missing text before anything is encoded from them."""
    seen: set[str] = set()
    for number, passage in enumerate(passages, start=1):
        if passage.id in seen:
            raise DataError(
                f"passage {number}: id {passage.id!r} repeats; give every passage an id of its own"
            )
        seen.add(passage.id)
        if not passage.full_text.strip():
            raise DataError(f"passage {number} ({passage.id!r}): no text; remove it or give it one")
        try:
            f"{passage.id}{passage.full_text}".encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"passage {number} ({passage.id!r}): not valid Unicode ({error.reason}); fix its text"
            ) from error
        yield passage


def _batches(passages: Iterator[Passage], size: int) -> Iterator[list[Passage]]:
    while batch := list(islice(passages, size)):
        yield batch


def _check_same(path: Path, info: ShardInfo, batch: list[Passage]) -> None:
    """A finished shard must hold what the collection has at its place."""
    if (len(batch), batch[0].id, batch[-1].id) != (info.rows, info.first_id, info.last_id):
        raise IndexStateError(
            f"{path}: holds {info.rows} passages {info.first_id!r} to {info.last_id!r}, the collection now "
            f"has {len(batch)}, {batch[0].id!r} to {batch[-1].id!r}, there; delete the folder and index again"
        )


def _shard(batch: list[Passage], encoding: Encoding, manifest: Manifest) -> Shard:
    """Passages and their encoding, laid out as a shard stores them."""
    dense = np.asarray(encoding.dense, dtype=np.float32)
    token_dim = manifest.token_dim if manifest.with_tokens else 0
    matrices = list(encoding.tokens) if manifest.with_tokens else [np.zeros((0, 0), np.float32)] * len(batch)
    ids = list(encoding.token_ids) if manifest.with_tokens else [np.zeros(0, np.int32)] * len(batch)
    if dense.ndim != 2 or not len(dense) == len(matrices) == len(ids) == len(batch):
        raise ModelError(
            f"{manifest.model_name}: gave {dense.shape} vectors and {len(matrices)} token matrices for "
            f"{len(batch)} passages; the model is broken"
        )
    for passage, vector, matrix in zip(batch, dense, matrices, strict=True):
        if not (np.isfinite(vector).all() and np.isfinite(matrix).all()):
            raise ModelError(
                f"{manifest.model_name}: the vector of passage {passage.id!r} is not finite; "
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
    )


def _json(passage: Passage) -> str:
    try:
        return json.dumps(dict(passage.fields), ensure_ascii=False) if passage.fields else "{}"
    except (TypeError, ValueError) as error:
        raise DataError(f"passage {passage.id!r}: its fields cannot be written as JSON ({error})") from error
