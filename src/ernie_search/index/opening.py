"""Opening any index by its address, and filling one from a folder of shards."""

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ernie_search._util.files import MANIFEST, did_you_mean
from ernie_search._util.words import detect_language
from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index.codecs import TRAINED, codec, train_codec
from ernie_search.index.lance_files import is_index, read_commit
from ernie_search.index.memory import MemoryIndex
from ernie_search.index.projection import PROJECTION, Projection
from ernie_search.index.protocol import Index, OpenMode
from ernie_search.index.rows import infer_fields, shard_batches
from ernie_search.index.spec import FieldType, IndexSpec, check_same_spec, spec_for
from ernie_search.index.stored_tokens import TokenCodec
from ernie_search.shards import PIECE, read_manifest, read_shard, read_texts

SCHEMES = ("lance", "memory", "qdrant+http", "qdrant+https")

SAMPLE_TOKENS = 100_000
"""Token vectors that a codec is trained on; more change its centroids little (k-means, 64 a centroid)."""

SAMPLE_OF_WORDS = 250_000
"""Likewise for "1bit", which takes the mean of each vocabulary word that it meets: more of them, and of rarer
ones, and without k-means they cost little."""

SAMPLE_SHARDS, SAMPLE_TEXTS = 8, 400
"""Shards and passages that the language is detected from, about."""

COMMIT_EVERY = 50
"""Shards between commits while an index is filled first: what a kill loses at most."""


def open_index(
    url: str | Path,
    spec: IndexSpec | None = None,
    mode: OpenMode = "r",
    *,
    trained: TokenCodec | None = None,
    projection: Projection | None = None,
    check: bool = True,
) -> Index:
    """Open an index, or make an empty one.

    Args:
        url: a folder or ``lance:///folder``; ``memory://``; ``qdrant+http://host:6333/collection``.
        spec: what a new index holds; given, an index that is there already is refused unless it is the same.
        mode: "r", or "w" to change it.
        trained: a new index's token codec, where it had to be trained (``TRAINED``).
        projection: a new index's, of which ``spec`` has the digest.
        check: compare every file's SHA-256 before anything is answered.

    Raises:
        SettingsError: an unknown address, or a new index without a spec or for reading.
        IndexStateError: no index there, a damaged one, one of another model, a folder of shards, or another
            writer is at work.
    """
    text = str(url)
    scheme = text.partition("://")[0] if "://" in text else "lance"
    if scheme not in SCHEMES:
        raise SettingsError(f"{text}: unknown kind of index {scheme!r}{did_you_mean(scheme, SCHEMES)}")
    if scheme == "memory":
        if spec is None:
            raise SettingsError("memory://: nothing is there yet; say what it holds (spec)")
        return MemoryIndex(
            spec, trained or (codec(spec.tokens, spec.token_dim) if spec.with_tokens else None), projection
        )
    if scheme.startswith("qdrant"):
        from ernie_search.index.qdrant import QdrantIndex

        return QdrantIndex.open(
            text.removeprefix("qdrant+"), spec, mode, trained=trained, projection=projection
        )
    from ernie_search.index.lance import LanceIndex

    folder = lance_folder(text)
    if spec is None and is_shards(folder):
        raise IndexStateError(
            f"{folder}: a folder of shards, which is not searched as it is; make an index of it with: "
            f"ernie-search index {folder} --output DIR"
        )
    if spec is None or is_index(folder):
        found = LanceIndex.open(folder, mode, check=check)
        if spec is not None:
            try:
                check_same_spec(str(folder), spec, found.spec)
            except IndexStateError:
                found.close()
                raise
        return found
    if mode == "r":
        raise SettingsError(f'{folder}: no index there; open it with mode "w" to make one')
    return LanceIndex.create(folder, spec, trained, projection)


def is_shards(folder: Path) -> bool:
    """Whether this is a folder of shards, finished or not."""
    return (folder / MANIFEST).is_file() and not is_index(folder)


def on_disk(url: str | Path) -> bool:
    """Whether an address is that of an index in a folder."""
    return "://" not in str(url) or str(url).startswith("lance://")


def lance_folder(url: str | Path) -> Path:
    """The folder of a ``lance://`` address, or of a plain path."""
    text = str(url)
    return Path(text if "://" not in text else urlsplit(text).netloc + urlsplit(text).path)


def index_shards(
    shards: Path,
    url: str | Path,
    *,
    fields: Mapping[str, FieldType] | None = None,
    progress: Callable[[int], None] | None = None,
    seed: int = 0,
    part: tuple[int, int] = (1, 1),
    language: str = "auto",
    **settings: Any,
) -> Index:
    """Put a folder of shards into an index, made if needed; the same call continues an interrupted one.

    An index on disk has one writer, who commits for all. Into a Qdrant cluster any number of loaders may
    write at once, each its part of the shards, on as many machines as there are.

    Args:
        shards: what ``encode_collection`` wrote.
        url: of the index; see ``open_index``.
        fields: what filters can ask for; None takes what the first shard's passages have.
        progress: called with the number of passages done since its last call.
        seed: of the token codec's training.
        part: ``(i, n)``: load shards i, i + n, i + 2n, ... only, as one of n loaders.
        language: of the passages: a code as "en", "none" for words as they stand, "auto" for what their words
            say, or an index that is there already.
        **settings: of the ``IndexSpec``: ``tokens``, ``ann``, ``exact_below``, ...

    Returns:
        The index, open for writing, committed and optimized.

    Raises:
        SettingsError: an impossible part, or a part of an index that has one writer.
        ErnieSearchError: see ``spec_for``, ``open_index`` and ``Index.upsert``.
    """
    check_part(part, url)
    index = open_for_shards(shards, url, fields=fields, seed=seed, language=language, **settings)
    try:
        load(index, shards, part=part, progress=progress)
        index.optimize()
    except BaseException:
        index.close()
        raise
    return index


def open_for_shards(
    shards: Path,
    url: str | Path,
    *,
    fields: Mapping[str, FieldType] | None = None,
    seed: int = 0,
    language: str = "auto",
    **settings: Any,
) -> Index:
    """The index that ``index_shards`` fills, open for writing: made if needed."""
    manifest = read_manifest(shards)
    # All loaders take the fields from the same shard, whichever are theirs.
    first = next(shard_batches(shards))
    if manifest.model_path and not str(url).startswith("qdrant"):  # a server may be asked from elsewhere
        model = os.path.normpath(shards.resolve() / manifest.model_path)
        seen = os.path.relpath(model, lance_folder(url).resolve()) if on_disk(url) else model
        settings.setdefault("model_path", seen)
    if str(url).startswith("qdrant") and manifest.with_tokens and settings.get("tokens", "auto") == "auto":
        settings["tokens"] = "fp16"  # it has no codecs of ours
    if language == "auto":
        there = on_disk(url) and is_index(lance_folder(url))
        language = read_commit(lance_folder(url)).spec.get("language", "none") if there else _spoken(shards)
    settings["language"] = language
    spec = spec_for(manifest, infer_fields(first) if fields is None else fields, **settings)
    trained = _trained(shards, spec.tokens, spec.token_dim, seed) if spec.with_tokens else None
    projection = Projection.read(shards) if spec.projection else None
    if spec.projection != ("" if projection is None else projection.digest):
        raise IndexStateError(
            f"{shards / PROJECTION}: missing, or not the one that these shards were made with; encode again"
        )
    return open_index(url, spec, "w", trained=trained, projection=projection)


def check_part(part: tuple[int, int], url: str | Path) -> None:
    """Refuse an impossible part, or parts of an index that has one writer.

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
            f"{url}: part {number}/{count} of an index that has one writer; load all of it, or into Qdrant"
        )


def load(
    index: Index,
    shards: Path,
    *,
    part: tuple[int, int] = (1, 1),
    progress: Callable[[int], None] | None = None,
    only: Collection[str] | None = None,
) -> int:
    """Put shards into an open index; those whose passages are there, word for word, are left alone.

    The index has the shards' model (its spec says so), so the same words have the same vectors.

    Args:
        index: open for writing.
        shards: the folder.
        part: see ``index_shards``.
        progress: called with the number of passages done since its last call.
        only: ids to write, all of them, without a commit; None writes what is not there, and commits on the
            way.

    Returns:
        Passages written.
    """
    held = len(index) > 0
    written = waiting = 0
    for batch in shard_batches(shards, part):
        if only is not None:
            some = batch.filter(pa.array([one in only for one in batch.column("id").to_pylist()], pa.bool_()))
            written += index.upsert(some) if some.num_rows else 0
        elif not (held and _is_there(index, batch)):
            written += index.upsert(batch)
            waiting += 1
        if waiting == COMMIT_EVERY:
            index.commit()
            waiting = 0
        if progress is not None:
            progress(batch.num_rows)
    return written


def _is_there(index: Index, batch: pa.RecordBatch) -> bool:
    """Whether the index has all these passages with these words, fields and places in their documents."""
    names = ["id", "title", "text", "fields", *PIECE]
    try:
        found = index.fetch(batch.column("id").to_pylist(), names)
    except IndexStateError:  # it lacks one of them
        return False
    return all(found.column(name).to_pylist() == batch.column(name).to_pylist() for name in names)


def _spoken(shards: Path) -> str:
    """The language of the passages, by a sample from shards all over the folder: a source may be sorted."""
    files = [info.file for info in read_manifest(shards).shards]
    texts: list[str] = []
    for file in files[:: max(1, len(files) // SAMPLE_SHARDS)]:
        found = read_texts(shards / file)
        texts += found[:: max(1, len(found) * min(len(files), SAMPLE_SHARDS) // SAMPLE_TEXTS)]
    return detect_language(texts)


def _trained(shards: Path, name: str, dim: int, seed: int) -> TokenCodec:
    """The codec, trained on tokens drawn from every shard where it needs that."""
    if name not in TRAINED:
        return train_codec(name, dim, np.zeros((0, dim), np.float32), seed)
    manifest, random = read_manifest(shards), np.random.default_rng(seed)
    share = min(1.0, (SAMPLE_OF_WORDS if name == "1bit" else SAMPLE_TOKENS) / max(manifest.tokens, 1))
    parts: list[NDArray[np.float32]] = []
    ids: list[NDArray[np.int32]] = []
    for info in manifest.shards:
        shard = read_shard(shards / info.file)
        drawn = random.random(len(shard.tokens)) < share
        parts.append(shard.tokens[drawn].astype(np.float32))
        ids.append(shard.token_ids[drawn])
    return train_codec(name, dim, np.concatenate(parts), seed, sample_ids=np.concatenate(ids))
