"""The state of a folder of shards: begun, interrupted, or finished; and who may write into it."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from ernie_search.encoder import Encoder
from ernie_search.errors import IndexStateError
from ernie_search.files import MANIFEST, remove, storage_errors
from ernie_search.shards import Manifest, read_manifest, shard_name, shard_problem


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
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
    prefers_bf16: Callable[[], bool] | None = None,
) -> Manifest:
    """The manifest to go on from: a new one, or that of an earlier run with only its sound shards.

    A folder begun with another shard size goes on with its own, and one begun in another precision with that
    one: which is faster is a measurement, and may come out otherwise next time. The leftovers of a killed
    writer are removed. A new manifest is not written yet: the first shard does that, so that bad input leaves
    nothing behind.

    Raises:
        IndexStateError: the folder holds something else, or shards of another model or of other data.
    """
    for pattern in (".shard-*.parquet.*.tmp", f".{MANIFEST}.*.tmp"):
        for leftover in folder.glob(pattern):
            remove(leftover)
    model_fingerprint = model.fingerprint
    place = "" if model_path is None else os.path.relpath(Path(model_path).resolve(), folder.resolve())
    if not (folder / MANIFEST).exists():
        # A first shard without a manifest is what a kill between the two leaves; anything else is not ours.
        own = {shard_name(0)}
        strangers = sorted(path.name for path in folder.iterdir() if path.name not in own)
        if strangers:
            raise IndexStateError(
                f"{folder}: holds {strangers[0]!r} but no {MANIFEST}; choose an empty or new folder"
            )
        return Manifest(
            model_name=model.name,
            model_fingerprint=model_fingerprint,
            model_path=place,
            data_fingerprint=data_fingerprint,
            token_dim=model.token_dim,
            with_tokens=with_tokens,
            shard_size=shard_size,
            precision=_preferred(prefers_bf16 or model.prefers_bf16),
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
