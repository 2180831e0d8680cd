"""Shards to store, a shard at a time."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index.codecs import TokenCodec, train_codec
from ernie_search.index.opening import lance_folder, open_index
from ernie_search.index.rows import infer_fields, shard_batches
from ernie_search.index.spec import FieldType, spec_for
from ernie_search.index.store import Store
from ernie_search.shards import PIECE, read_manifest, read_shard

SAMPLE_TOKENS = 100_000
"""Token vectors that a codec is trained on; more change its centroids little (k-means, 64 a centroid)."""

COMMIT_EVERY = 50
"""Shards between commits: what a killed ingest loses at most."""


def build_store(
    shards: Path,
    url: str | Path,
    *,
    fields: Mapping[str, FieldType] | None = None,
    progress: Callable[[int], None] | None = None,
    seed: int = 0,
    part: tuple[int, int] = (1, 1),
    **settings: Any,
) -> Store:
    """Put a folder of shards into a store, made if needed; the same call goes on with an interrupted one.

    A LanceDB store has one writer, who commits for all. Into a Qdrant cluster any number of loaders may write
    at once, each its part of the shards, on as many machines as there are.

    Args:
        shards: what ``encode_collection`` wrote.
        url: of the store; see ``open_index``.
        fields: what filters can ask for; None takes what the first shard's passages have.
        progress: called with the number of passages done since its last call.
        seed: of the token codec's training.
        part: ``(i, n)``: load shards i, i + n, i + 2n, ... only, as one of n loaders.
        **settings: of the ``IndexSpec``: ``tokens``, ``ann``, ``exact_below``, ...

    Returns:
        The store, open for writing, committed and optimized.

    Raises:
        SettingsError: a part of no parts, or of a store that has one writer.
        ErnieSearchError: see ``spec_for``, ``open_index`` and ``Store.upsert``.
    """
    check_part(part, url)
    manifest = read_manifest(shards)
    # All loaders take the fields from the same shard, whichever are theirs.
    first = next(shard_batches(shards))
    if "://" not in str(url) or str(url).startswith("lance://"):
        settings.setdefault(
            "model_path", _model_seen_from(lance_folder(str(url)), shards, manifest.model_path)
        )
    spec = spec_for(manifest, infer_fields(first) if fields is None else fields, **settings)
    trained = _trained(shards, spec.tokens, spec.token_dim, seed) if spec.with_tokens else None
    store = open_index(url, spec, "w", trained=trained)
    try:
        load(store, shards, part=part, progress=progress)
        store.optimize()
    except BaseException:
        store.close()
        raise
    return store


def check_part(part: tuple[int, int], url: str | Path) -> None:
    """Refuse a part that is none, or parts of a store that has one writer.

    Raises:
        SettingsError: one line.
    """
    number, count = part
    if not 1 <= number <= count:
        raise SettingsError(
            f"part {number}/{count}: must be 1/{max(count, 1)} to {max(count, 1)}/{max(count, 1)}"
        )
    if count > 1 and not str(url).startswith("qdrant"):
        raise SettingsError(
            f"{url}: part {number}/{count} of a store that has one writer; load all of it, or into Qdrant"
        )


def load(
    store: Store,
    shards: Path,
    *,
    part: tuple[int, int] = (1, 1),
    progress: Callable[[int], None] | None = None,
) -> int:
    """Put shards into an open store; those whose passages are there, word for word, are left alone.

    The store has the shards' model (its spec says so), so the same words have the same vectors.

    Args:
        store: open for writing.
        shards: the folder.
        part: see ``build_store``.
        progress: called with the number of passages done since its last call.

    Returns:
        Passages written.
    """
    held = len(store) > 0
    written = waiting = 0
    for batch in shard_batches(shards, part):
        if not (held and _is_there(store, batch)):
            written += store.upsert(batch)
            waiting += 1
        if waiting == COMMIT_EVERY:
            store.commit()
            waiting = 0
        if progress is not None:
            progress(batch.num_rows)
    return written


def _is_there(store: Store, batch: pa.RecordBatch) -> bool:
    """Whether the store has all these passages with these words, fields and places in their documents."""
    names = ["id", "title", "text", "fields", *PIECE]
    try:
        found = store.fetch(batch.column("id").to_pylist(), names)
    except IndexStateError:  # it lacks one of them
        return False
    return all(found.column(name).to_pylist() == batch.column(name).to_pylist() for name in names)


def _model_seen_from(folder: Path, shards: Path, recorded: str) -> str:
    """The model's directory, noted as seen from the shards, as seen from the store."""
    if not recorded:
        return ""
    return os.path.relpath(os.path.normpath(shards.resolve() / recorded), folder.resolve())


def _trained(shards: Path, name: str, dim: int, seed: int) -> TokenCodec:
    """The codec, trained on tokens drawn from every shard where it needs that."""
    if name != "2bit":
        return train_codec(name, dim, np.zeros((0, dim), np.float32), seed)
    manifest, random = read_manifest(shards), np.random.default_rng(seed)
    share = min(1.0, SAMPLE_TOKENS / max(manifest.tokens, 1))
    parts: list[NDArray[np.float32]] = []
    for info in manifest.shards:
        tokens = read_shard(shards / info.file).tokens
        parts.append(tokens[random.random(len(tokens)) < share].astype(np.float32))
    return train_codec(name, dim, np.concatenate(parts), seed)
