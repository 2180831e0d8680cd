"""Checkpoints that are whole or absent, and which one to resume from."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from ernie_search._util.files import (
    altered,
    checksums,
    fsync_directory,
    read_json,
    remove,
    sync_tree,
    write_json,
)
from ernie_search.errors import StorageError, TrainingError

STAGING = ".staging"
"""Where a checkpoint is written before it gets its name."""
CHECKPOINT_FILE = "checkpoint.json"
"""A checkpoint's manifest: SHA-256 of every other file. Not ``manifest.json``: a saved model may have one."""


def damage(checkpoint: Path) -> str | None:
    """What is missing or altered in a checkpoint, compared with its manifest; ``None`` if it is whole.

    Every file is read. One file without its checksum could change the model that comes out, and say nothing.
    """
    if not (checkpoint / CHECKPOINT_FILE).is_file():
        return f"{CHECKPOINT_FILE} is missing"
    try:
        sums = read_json(checkpoint / CHECKPOINT_FILE)
    except StorageError:
        return f"{CHECKPOINT_FILE} is not readable"
    if not isinstance(sums, dict) or not sums or not all(isinstance(one, str) for one in sums.values()):
        return f"{CHECKPOINT_FILE} holds no checksums"
    return altered(checkpoint, sums)


def is_whole(checkpoint: Path) -> bool:
    """Whether every file that the checkpoint's manifest lists is there as it was written."""
    return damage(checkpoint) is None


def checkpoint_steps(folder: Path) -> dict[int, Path]:
    """Whole checkpoints below ``folder``, by step."""
    return {step: path for step, path in _named(folder).items() if is_whole(path)}


def latest_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """The whole checkpoint with the highest step, and what is wrong with each one above it, in a line each.

    Returns:
        ``(None, [])`` where there is no checkpoint.

    Raises:
        TrainingError: there are checkpoints, and none is whole.
    """
    damaged: list[str] = []
    for path in _newest_first(folder):
        problem = damage(path)
        if problem is None:
            return path, damaged
        damaged.append(f"{path} cannot be resumed ({problem})")
    if damaged:
        raise TrainingError(
            f"{damaged[0]}, and no checkpoint before it is whole; delete {folder} and run the same command "
            "again to train from the start"
        )
    return None, []


def publish(staging: Path, folder: Path, keep: int) -> None:
    """Move the one checkpoint in ``staging`` under its name in ``folder``, durably; then drop the oldest.

    A kill before the rename leaves the former checkpoint; after it, the new one. Never half of either.

    Args:
        staging: holds a folder ``checkpoint-STEP``; it is gone afterwards.
        folder: of the run.
        keep: how many checkpoints stay. What is left of a half-deleted one goes, too, and a later one: the
            run was resumed from before it, so it was damaged.
    """
    kept: list[Path] = []
    for fresh in staging.glob("checkpoint-*"):
        write_json(fresh / CHECKPOINT_FILE, checksums(fresh))
        sync_tree(fresh)
        target = folder / fresh.name
        remove(target)
        os.rename(fresh, target)
        newest = list(_newest_first(folder))
        kept = newest[newest.index(target) :][:keep]
    fsync_directory(folder)
    shutil.rmtree(staging, ignore_errors=True)
    for path in _named(folder).values():
        if path not in kept:
            remove(path)


def clear_leftovers(folder: Path) -> None:
    """Remove what a kill in the middle of writing left beside the whole files."""
    for path in (folder / STAGING, *folder.glob(".*.tmp")):
        remove(path)


def _named(folder: Path) -> dict[int, Path]:
    """Everything below ``folder`` that has a checkpoint's name, whole or not, by step."""
    matches = {path: re.fullmatch(r"checkpoint-(\d+)", path.name) for path in folder.glob("checkpoint-*")}
    return {int(match[1]): path for path, match in matches.items() if match}


def _newest_first(folder: Path) -> Iterator[Path]:
    named = _named(folder)
    return (named[step] for step in sorted(named, reverse=True))
