"""Checkpoints that are whole or absent, and which one to go on from."""

import os
import re
import shutil
from pathlib import Path

from ernie_search.files import fsync_directory, sync_tree

NEEDED = ("trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth", "token_head.safetensors")


def checkpoint_steps(folder: Path) -> dict[int, Path]:
    """Complete checkpoints below ``folder``, by step."""
    found = {}
    for path in folder.glob("checkpoint-*"):
        match = re.fullmatch(r"checkpoint-(\d+)", path.name)
        if match and all((path / name).is_file() for name in NEEDED):
            found[int(match[1])] = path
    return found


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the highest step, or none."""
    found = checkpoint_steps(folder)
    return found[max(found)] if found else None


def publish(staging: Path, folder: Path, keep: int) -> None:
    """Move the one checkpoint in ``staging`` under its name in ``folder``, durably; then drop the oldest.

    A kill before the rename leaves the former checkpoint; after it, the new one. Never half of either.
    """
    for fresh in staging.glob("checkpoint-*"):
        sync_tree(fresh)
        target = folder / fresh.name
        shutil.rmtree(target, ignore_errors=True)
        os.rename(fresh, target)
    fsync_directory(folder)
    shutil.rmtree(staging, ignore_errors=True)
    found = checkpoint_steps(folder)
    for step in sorted(found)[:-keep]:
        shutil.rmtree(found[step], ignore_errors=True)
