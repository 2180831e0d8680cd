"""Checkpoints that are whole or absent, and which one to go on from."""

import os
import re
import shutil
from pathlib import Path

from ernie_search.errors import StorageError
from ernie_search.files import MANIFEST, fsync_directory, read_json, sync_tree, write_json

STAGING = ".staging"
"""Where a checkpoint is written before it gets its name."""


def is_whole(checkpoint: Path) -> bool:
    """Whether every file that the checkpoint's manifest lists is there, in its size."""
    try:
        sizes = read_json(checkpoint / MANIFEST)
    except (StorageError, OSError):
        return False
    return isinstance(sizes, dict) and all(
        (checkpoint / name).is_file() and (checkpoint / name).stat().st_size == size
        for name, size in sizes.items()
    )


def checkpoint_steps(folder: Path) -> dict[int, Path]:
    """Whole checkpoints below ``folder``, by step."""
    found = {}
    for path in folder.glob("checkpoint-*"):
        match = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if match and is_whole(path):
            found[int(match[1])] = path
    return found


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the highest step, or none."""
    found = checkpoint_steps(folder)
    return found[max(found)] if found else None


def publish(staging: Path, folder: Path, keep: int) -> None:
    """Move the one checkpoint in ``staging`` under its name in ``folder``, durably; then drop the oldest.

    A kill before the rename leaves the former checkpoint; after it, the new one. Never half of either.

    Args:
        staging: holds a folder ``checkpoint-STEP``; it is gone afterwards.
        folder: of the run.
        keep: how many checkpoints stay. What is left of a half-deleted one goes, too.
    """
    for fresh in staging.glob("checkpoint-*"):
        files = sorted(path for path in fresh.rglob("*") if path.is_file())
        write_json(fresh / MANIFEST, {str(path.relative_to(fresh)): path.stat().st_size for path in files})
        sync_tree(fresh)
        target = folder / fresh.name
        shutil.rmtree(target, ignore_errors=True)
        os.rename(fresh, target)
    fsync_directory(folder)
    shutil.rmtree(staging, ignore_errors=True)
    found = checkpoint_steps(folder)
    kept = {found[step] for step in sorted(found)[-keep:]}
    for path in folder.glob("checkpoint-*"):
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def clear_leftovers(folder: Path) -> None:
    """Remove what a kill in the middle of writing left beside the whole files."""
    for path in (folder / STAGING, *folder.glob(".*.tmp")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
