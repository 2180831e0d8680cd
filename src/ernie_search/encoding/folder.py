"""The state of a folder of shards: begun, interrupted, or finished; and who may write into it."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ernie_search import __version__
from ernie_search.encoder import Encoder
from ernie_search.errors import IndexStateError
from ernie_search.files import MANIFEST, storage_errors
from ernie_search.shards import Manifest, read_manifest, shard_problem


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Make ``folder`` if needed and hold it against other writers; the kernel lets go even after kill -9.

    Raises:
        IndexStateError: another process is writing there, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise IndexStateError(f"{folder}: is a file; choose a folder for the shards")
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
    finally:
        os.close(descriptor)


def begin_or_resume(model: Encoder, folder: Path, *, data_fingerprint: str, shard_size: int, with_tokens: bool) -> Manifest:
    """The manifest to go on from: a new one, or that of an earlier run with only its sound shards.

    A folder begun with another shard size goes on with its own. The leftovers of a killed writer are removed.

    Raises:
        IndexStateError: the folder holds something else, or shards of another model, other data, or other content.
    """
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink()
    if not (folder / MANIFEST).exists():
        # A killed run leaves its manifest before any shard, so other files here are not ours to overwrite.
        strangers = sorted(path.name for path in folder.iterdir())
        if strangers:
            raise IndexStateError(f"{folder}: holds {strangers[0]!r} but no {MANIFEST}; choose an empty or new folder")
        manifest = Manifest(
            model_name=model.name,
            model_fingerprint=model.fingerprint,
            data_fingerprint=data_fingerprint,
            token_dim=model.token_dim,
            with_tokens=with_tokens,
            shard_size=shard_size,
            version=__version__,
        )
        manifest.write(folder)
        return manifest
    manifest = read_manifest(folder)
    remedy = "choose another folder or delete this one"
    if manifest.model_fingerprint != model.fingerprint:
        raise IndexStateError(
            f"{folder}: made by model {manifest.model_name} ({manifest.model_fingerprint}), "
            f"not {model.name} ({model.fingerprint}); {remedy}"
        )
    if manifest.data_fingerprint != data_fingerprint:
        raise IndexStateError(
            f"{folder}: made from data {manifest.data_fingerprint}, not {data_fingerprint}; {remedy}"
        )
    if manifest.with_tokens != with_tokens:
        held = "with" if manifest.with_tokens else "without"
        raise IndexStateError(f"{folder}: made {held} token matrices, asked for the opposite; {remedy}")
    sound = [info for info in manifest.shards if shard_problem(folder, info) is None]
    if len(sound) < len(manifest.shards):
        manifest.shards, manifest.complete = sound, False
        manifest.write(folder)
    return manifest
