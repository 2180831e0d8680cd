"""The files of a saved model: a manifest of their SHA-256, checked before they are loaded."""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ernie_search._util.files import read_json, remembered_sha256, sha256_file, write_json
from ernie_search.errors import ErnieSearchError, ModelError, StorageError

FILES_FILE = "ernie_search_files.json"
FORMAT = 1
UNLISTED = ("README.md", FILES_FILE)
"""Files without a checksum: people may edit the model card, and the manifest cannot hold its own."""
TRAINER = re.compile(r"(training_args\.bin|optimizer\.pt|scheduler\.pt|trainer_state\.json|rng_state.*\.pth)")
"""What the trainer writes into a checkpoint, on other ranks perhaps while the model is being saved."""
WEIGHTS = (".safetensors", ".bin", ".onnx", ".data")
"""Endings of the large files, whose digests need not be compared before every question."""
_Stamp = tuple[int, int, int, int]


@contextlib.contextmanager
def listing_saved_files(folder: Path) -> Iterator[None]:
    """Write :data:`FILES_FILE`, the manifest of all files that the block writes below ``folder``.

    What lay there before and stays as it is takes no part: it is no file of the model. A save that is
    interrupted leaves the manifest of the one before, which then refuses the mixture.
    """
    before = dict(_stamps(folder))
    yield
    written = sorted(name for name, stamp in _stamps(folder) if before.get(name) != stamp)
    write_json(folder / FILES_FILE, {"format": FORMAT, "files": _entries(folder, written)})


def list_also(folder: Path, inside: str) -> None:
    """Put the files of a folder in a model's directory into its manifest, in the place of earlier ones there.

    Args:
        folder: a model's directory; one without a manifest stays so.
        inside: the name of the folder in it, which may be gone.
    """
    if not (folder / FILES_FILE).exists():
        return
    start = f"{inside}/"
    kept = {
        name: {"bytes": size, "sha256": digest}
        for name, (size, digest) in _listed(folder / FILES_FILE).items()
        if not name.startswith(start)
    }
    added = sorted(name for name, _ in _stamps(folder) if name.startswith(start))
    write_json(folder / FILES_FILE, {"format": FORMAT, "files": kept | _entries(folder, added)})


def _entries(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What a manifest says of files, by name."""
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_file(folder / name)}
        for name in names
        if name not in UNLISTED and not TRAINER.fullmatch(name)
    }


def check_saved_files(folder: Path, *, weights: bool = True) -> None:
    """Refuse a model directory whose files are not those that were saved; one without a manifest passes.

    Sizes are compared first. A digest is taken once in a process, and again when the file's size or time is
    another.

    Args:
        folder: a model's directory.
        weights: compare the digests of the weights too; their sizes are compared in any case.

    Raises:
        ModelError: a file is missing or was altered, or the manifest itself cannot be read.
    """
    path = folder / FILES_FILE
    if not path.exists():
        return
    advice = f"copy or save the model again, or delete {FILES_FILE} if the change is meant"
    listed = _listed(path)
    with one_line(f"{folder}: cannot be read"):
        for name, (size, _) in listed.items():
            if not (folder / name).is_file():
                raise ModelError(f"{folder / name}: missing; {advice}")
            found = (folder / name).stat().st_size
            if found != size:
                raise ModelError(f"{folder / name}: {found:,} bytes, and {size:,} were saved; {advice}")
        for name, (_, digest) in listed.items():
            if (weights or not name.endswith(WEIGHTS)) and remembered_sha256(folder / name) != digest:
                raise ModelError(
                    f"{folder / name}: altered since it was saved (its SHA-256 differs); {advice}"
                )


def _listed(path: Path) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of each file of a manifest, by its name."""
    try:
        found = read_json(path)
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']}, and {FORMAT} is read")
        files: dict[str, Any] = found["files"]
        return {name: (int(one["bytes"]), str(one["sha256"])) for name, one in files.items()}
    except (StorageError, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path}: no manifest of a saved model ({type(error).__name__}); copy or save the model again"
        ) from error


def _stamps(folder: Path) -> Iterator[tuple[str, _Stamp]]:
    """Size and times of every file below ``folder``, by relative name; hidden ones are left out."""
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(root, name)
            if not name.startswith(".") and path.is_file():
                yield path.relative_to(folder).as_posix(), _stamp(path.stat())


def _stamp(stat: os.stat_result) -> _Stamp:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@contextlib.contextmanager
def one_line(what: str, advice: str = "", *, leave: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn whatever a library raises while it loads a model into a ModelError of one line.

    transformers, tokenizers, safetensors and sentence-transformers raise KeyError, TypeError, ImportError and
    a bare Exception at damaged files, and the last two a panic of Rust, which is no Exception at all.

    Args:
        what: the beginning of the line: the place, and what cannot be done with it.
        advice: its end.
        leave: what stays as it is raised, such as a full disk's OSError.
    """
    stays: tuple[type[Exception], ...] = (ErnieSearchError, *leave)
    try:
        yield
    except stays:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ModelError(f"{what} ({first_line(error)}){advice and f'; {advice}'}") from error


def first_line(error: BaseException) -> str:
    """The first line of a library's message, with the error's name where the message alone says little."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    text = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])
    if isinstance(error, (OSError, ValueError, RuntimeError)) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
