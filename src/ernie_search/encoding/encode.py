"""Encode a collection into Parquet shards, one at a time; an interrupted call resumes where it stopped."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path

from ernie_search._util.files import MANIFEST, atomic_write, lock, remove, sha256_file, storage_errors
from ernie_search.encoder import Encoder
from ernie_search.encoding.executors import Executor, LocalExecutor
from ernie_search.encoding.projected import Fit, ProjectedEncoder, settled_projection
from ernie_search.encoding.shard_job import Asked, encode_shard, encode_shard_packed, prefers_bf16
from ernie_search.errors import DataError, IndexStateError, SettingsError
from ernie_search.index.projection import PROJECTION, Projection
from ernie_search.shards import Manifest, ShardInfo, read_manifest, shard_name, shard_problem, write_shard
from ernie_search.types import Passage, checked_passage


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Make ``folder`` if needed and hold it against other writers; the kernel lets go even after kill -9.

    Raises:
        IndexStateError: another process is writing there, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise IndexStateError(f"{folder}: is a file; choose a folder for the shards")
    made = not folder.exists()
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if os.name == "nt":  # opens no folders: a file beside it is locked in its place
            beside = folder.with_name(f".{folder.name}.lock")
            descriptor = os.open(beside, os.O_RDWR | os.O_CREAT, 0o644)
        else:
            descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            lock(descriptor)
        except BlockingIOError:
            raise IndexStateError(
                f"{folder}: another process is encoding into it; wait for it or choose another folder"
            ) from None
        yield
    except BaseException:
        if made:
            with contextlib.suppress(OSError):  # it holds something by now, so it stays
                folder.rmdir()
        raise
    finally:
        os.close(descriptor)


def begin_or_resume(
    model: Encoder,
    folder: Path,
    *,
    data_fingerprint: str,
    shard_size: int,
    with_tokens: bool,
    model_path: Path | str | None = None,
    model_ref: str = "",
    prefers_bf16: Callable[[], bool] | None = None,
) -> Manifest:
    """The manifest to continue from: a new one, or that of an earlier call with only its sound shards.

    A folder begun with another shard size keeps its own, and one begun in another precision keeps that
    one: which is faster is a measurement, and may come out otherwise next time. The leftovers of a killed
    writer are removed. A new manifest is not written yet: the first shard does that, so that bad input leaves
    nothing behind.

    Raises:
        IndexStateError: the folder holds something else, or shards of another model or of other data.
    """
    for pattern in (".shard-*.parquet.*.tmp", f".{MANIFEST}.*.tmp", f".{PROJECTION}.*.tmp"):
        for leftover in folder.glob(pattern):
            remove(leftover)
    model_fingerprint = model.fingerprint
    place = "" if model_path is None else os.path.relpath(Path(model_path).resolve(), folder.resolve())
    int8 = getattr(model, "precision", "fp32") == "int8"
    if not (folder / MANIFEST).exists():
        # A first shard or a projection without a manifest is what a kill leaves; anything else is not ours.
        own = {shard_name(0), PROJECTION}
        strangers = sorted(path.name for path in folder.iterdir() if path.name not in own)
        if strangers:
            raise IndexStateError(
                f"{folder}: holds {strangers[0]!r} but no {MANIFEST}; choose an empty or new folder"
            )
        return Manifest(
            model_name=model.name,
            model_fingerprint=model_fingerprint,
            model_path=place,
            model_ref=model_ref,
            encoder_kind=model.kind,
            data_fingerprint=data_fingerprint,
            token_dim=model.token_dim,
            with_tokens=with_tokens,
            shard_size=shard_size,
            precision="int8" if int8 else _preferred(prefers_bf16 or model.prefers_bf16),
            version=version("ernie-search"),
        )
    manifest = read_manifest(folder)
    remedy = "choose another folder or delete this one"
    if manifest.model_fingerprint != model_fingerprint:
        raise IndexStateError(
            f"{folder}: made by model {manifest.model_name} ({manifest.model_fingerprint}), "
            f"not {model.name} ({model_fingerprint}); {remedy}"
        )
    if manifest.data_fingerprint != data_fingerprint:
        raise IndexStateError(
            f"{folder}: made from data {manifest.data_fingerprint}, not {data_fingerprint}; {remedy}"
        )
    if manifest.with_tokens != with_tokens:
        held = "with" if manifest.with_tokens else "without"
        raise IndexStateError(f"{folder}: made {held} token matrices, asked for the opposite; {remedy}")
    if manifest.precision and (manifest.precision == "int8") != int8:
        raise IndexStateError(
            f"{folder}: encoded in {manifest.precision}, and now in {'int8' if int8 else 'fp32'} by the same "
            f"model; take the same --precision, {remedy}"
        )
    sound = [info for info in manifest.shards if shard_problem(folder, info) is None]
    moved = bool(place) and place != manifest.model_path
    if moved or len(sound) < len(manifest.shards):
        manifest.model_path = place or manifest.model_path
        manifest.complete = manifest.complete and len(sound) == len(manifest.shards)
        manifest.shards = sound
        manifest.write(folder)
    if not manifest.precision and not manifest.complete:
        # Begun by a version that did not say; the next shard's write notes it.
        manifest.precision = _preferred(prefers_bf16 or model.prefers_bf16)
    return manifest


def _preferred(prefers_bf16: Callable[[], bool]) -> str:
    return "bf16" if prefers_bf16() else "fp32"


@dataclass(frozen=True, slots=True)
class EncodedCollection:
    """A finished folder of shards.

    Attributes:
        path: the folder.
        passages: how many it holds.
        truncated: how many of them were longer than the model reads.
        tokens: token vectors stored.
        encoded: passages that this call encoded; the others were there already.
        seconds: spent encoding, over all interrupted calls.
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
    model_ref: str = "",
    progress: Callable[[int], None] | None = None,
    executor: Executor | None = None,
    projection: Projection | Fit | None = None,
) -> EncodedCollection:
    """Encode ``passages`` into ``output``; after any interruption the same call encodes what is missing.

    Args:
        model: gives vectors and token matrices.
        passages: streamed; on resume read again from the start, and those already encoded are skipped.
        output: the folder of shards, made if needed.
        data_fingerprint: of the collection; the folder is refused to any other.
        shard_size: passages held in memory, and lost at most to an interruption.
        with_tokens: store token matrices (fp16) too; without them only dense search is possible.
        model_path: the model's directory, noted in the manifest so that search finds it by itself.
        model_ref: how to find a model that is in no directory of the user's; noted likewise.
        progress: called with the number of passages done since its last call, skipped ones included.
        executor: where passages are encoded; by default in this process. Only this process writes files.

        projection: that the token vectors go through: an index's own, or what to fit a new one to, which
            is kept in the folder; a folder that has one keeps it. None stores them as they are.

    Returns:
        EncodedCollection. A finished folder is checked (SHA-256) and left alone.

    Raises:
        DataError: no passages, an id that repeats, or a passage without text.
        IndexStateError: the folder is of another model or other data, or another process writes into it.
        ModelError: the model gave vectors that are not finite.
        StorageError: the disk is full or read-only. Finished shards stay.
        ExecutorError: the executor failed. Finished shards stay.
    """
    if shard_size < 1:
        raise SettingsError(f"shard_size={shard_size}: must be at least 1 passage")
    executor = executor or LocalExecutor()
    with exclusive(output):
        manifest = begin_or_resume(
            model,
            output,
            prefers_bf16=lambda: _prefers_bf16(model, executor),
            data_fingerprint=data_fingerprint,
            shard_size=shard_size,
            with_tokens=with_tokens,
            model_path=model_path,
            model_ref=model_ref,
        )
        model = _projected(model, output, manifest, projection, executor)
        encoded = 0
        if manifest.complete:
            if progress is not None:
                progress(manifest.passages)
        else:
            encoded = _encode_missing(model, passages, output, manifest, progress, executor)
    return EncodedCollection(
        output, manifest.passages, manifest.truncated, manifest.tokens, encoded, manifest.seconds
    )


def _projected(
    model: Encoder,
    output: Path,
    manifest: Manifest,
    wanted: Projection | Fit | None,
    executor: Executor,
) -> Encoder:
    """The model with the folder's projection, which a new manifest notes.

    Raises:
        IndexStateError: the folder was made without one, with another, or for other dimensions.
    """
    begun = bool(manifest.shards) or manifest.complete
    if wanted is None or not manifest.with_tokens:
        if manifest.projection:
            raise IndexStateError(f"{output}: its token vectors are projected; delete it and index again")
        return model
    dim = wanted.dim_out if isinstance(wanted, Projection) else wanted.dim
    if begun and (not manifest.projection or manifest.token_dim != dim):
        raise IndexStateError(
            f"{output}: made with token_dim={manifest.token_dim}, not {dim}; "
            "choose another folder or delete this one"
        )
    found = settled_projection(
        output,
        model,
        manifest.data_fingerprint,
        manifest.projection if begun else None,
        wanted,
        executor=executor,
        bf16=manifest.precision == "bf16",
    )
    manifest.token_dim, manifest.projection = found.dim_out, found.digest
    return ProjectedEncoder(model, found)


def _prefers_bf16(model: Encoder, executor: Executor) -> bool:
    """Whether bf16 pays where the work is done."""
    ((_, answer),) = executor.run(model, prefers_bf16, [("precision", None, 0)])
    return answer


def _encode_missing(
    model: Encoder,
    passages: Iterable[Passage],
    output: Path,
    manifest: Manifest,
    progress: Callable[[int], None] | None,
    executor: Executor,
) -> int:
    """Encode the shards that ``manifest`` lacks; the number of passages encoded."""
    done = {info.file: info for info in manifest.shards}
    started, before = time.perf_counter(), manifest.seconds
    encoded = filled = 0

    def missing() -> Iterator[tuple[str, Asked, int]]:
        """Name, passages and their number of every shard that is not there."""
        nonlocal filled
        for number, batch in enumerate(_batches(checked_passages(passages), manifest.shard_size)):
            filled, name = number + 1, shard_name(number)
            if name not in done:
                yield name, Asked.of(batch, manifest), len(batch)
                continue
            _check_same(output / name, done[name], batch)
            if progress is not None:
                progress(len(batch))

    # On the way from another process a shard is a file's bytes, as packing is work, too.
    work = encode_shard if isinstance(executor, LocalExecutor) else encode_shard_packed
    for name, made in executor.run(model, work, missing(), progress):
        with atomic_write(output / name, "wb") as handle:
            if made.packed is not None:
                handle.write(made.packed)
            elif made.shard is not None:
                write_shard(handle, made.shard)
        done[name] = made.info(name, sha256_file(output / name))
        encoded += made.rows
        manifest.dim = made.dim
        manifest.shards = sorted(done.values(), key=lambda info: (len(info.file), info.file))
        manifest.seconds = round(before + time.perf_counter() - started, 3)
        manifest.write(output)
    if filled == 0:
        raise DataError(f"{output}: no passages to encode; check the collection")
    if filled < len(done):
        raise IndexStateError(
            f"{output}: holds {len(done)} shards, the collection now fills {filled}; "
            "delete the folder and index again"
        )
    manifest.complete = True
    manifest.write(output)
    return encoded


def checked_passages(passages: Iterable[Passage]) -> Iterator[Passage]:
    """The passages as every way in takes them; ids that repeat are refused.

    Raises:
        DataError: naming the passage.
    """
    seen: set[str] = set()
    for number, passage in enumerate(passages, start=1):
        if passage.id in seen:
            raise DataError(
                f"passage {number}: id {passage.id!r} repeats; give every passage an id of its own"
            )
        seen.add(passage.id)
        try:
            passage = checked_passage(passage)
        except ValueError as error:
            raise DataError(f"passage {number} ({passage.id!r}): {error}") from None
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
