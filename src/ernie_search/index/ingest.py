"""Shards to store, a shard at a time."""

import os
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search.index.batch import infer_fields, shard_batches
from ernie_search.index.codecs import TokenCodec, train_codec
from ernie_search.index.opening import lance_folder, open_index
from ernie_search.index.spec import FieldType, spec_for
from ernie_search.index.store import Store
from ernie_search.shards import read_manifest, read_shard

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
    **settings: Any,
) -> Store:
    """Put a folder of shards into a store, made if needed; the same call goes on with an interrupted one.

    Args:
        shards: what ``encode_collection`` wrote.
        url: of the store; see ``open_index``.
        fields: what filters can ask for; None takes what the first shard's passages have.
        progress: called with the number of passages done since its last call.
        seed: of the token codec's training.
        **settings: of the ``IndexSpec``: ``tokens``, ``ann``, ``exact_below``, ...

    Returns:
        The store, open for writing, committed and optimized.

    Raises:
        ErnieSearchError: see ``spec_for``, ``open_index`` and ``Store.upsert``.
    """
    manifest = read_manifest(shards)
    batches = shard_batches(shards)
    first = next(batches)
    if "://" not in str(url) or str(url).startswith("lance://"):
        settings.setdefault(
            "model_path", _model_seen_from(lance_folder(str(url)), shards, manifest.model_path)
        )
    spec = spec_for(manifest, infer_fields(first) if fields is None else fields, **settings)
    trained = _trained(shards, spec.tokens, spec.token_dim, seed) if spec.with_tokens else None
    store = open_index(url, spec, "w", trained=trained)
    try:
        for number, batch in enumerate(chain([first], batches), start=1):
            store.upsert(batch)
            if number % COMMIT_EVERY == 0:
                store.commit()
            if progress is not None:
                progress(batch.num_rows)
        store.optimize()
    except BaseException:
        store.close()
        raise
    return store


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
