"""What was known of a folder's files when they were last read: so that unchanged ones cost a look each."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ernie_search._util.files import atomic_write, remove
from ernie_search.data.files.reading import id_path

FORMAT = 1
FOLDER = "sync"
"""In the index's folder. A state is named after the content that it tells of, and the index's commit names
that content: so the two belong together, whenever a writer was killed."""


@dataclass(slots=True)
class FileState:
    """A file as it was read.

    Attributes:
        size, mtime_ns: a file that still has them was not changed, if it was at rest when it was read.
        sha256: of its bytes; "" for one that gave no passages.
        passages: what follows the file's path in its passages' ids.
        note: see ``Read``.
        skipped: why it gave none, or could not be read the last time; "" also for what is no document.
        extra: see ``Skipped``.
    """

    size: int
    mtime_ns: int
    sha256: str = ""
    passages: list[str] = field(default_factory=list)
    note: str = ""
    skipped: str = ""
    extra: str = ""

    def ids(self, path: str) -> list[str]:
        """Its passages' ids."""
        before = id_path(path)
        return [f"{before}#{one}" for one in self.passages]


@dataclass(slots=True)
class State:
    """All files of a folder, by their path below it.

    Attributes:
        data: fingerprint of the content, which the index's origin has, too.
        words: of a passage at most.
        scanned_ns: when the files were looked at; those changed shortly before may have changed since.
        readers: ``READERS_VERSION`` of what read them; 0 where that was not noted yet.
        model: what says cheaply that the model is still the same.
        files: see ``FileState``.
    """

    data: str
    words: int
    scanned_ns: int
    readers: int = 0
    model: str = ""
    files: dict[str, FileState] = field(default_factory=dict)

    def write(self, index: Path) -> None:
        """Write it into an index's folder: whole or not at all, with its checksum before it."""
        rows = {
            path: [one.size, one.mtime_ns, one.sha256, one.passages, one.note, one.skipped, one.extra]
            for path, one in self.files.items()
        }
        head: dict[str, Any] = {
            "format": FORMAT,
            "data": self.data,
            "words": self.words,
            "scanned_ns": self.scanned_ns,
            "readers": self.readers,
            "model": self.model,
        }
        text = json.dumps({**head, "files": rows}, separators=(",", ":"))
        with atomic_write(index / FOLDER / f"{self.data}.json") as handle:
            handle.write(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}\n")


def read_state(index: Path, data: str) -> State | None:
    """The state of that content; None where there is none or it is damaged: then all files are read."""
    try:
        raw = (index / FOLDER / f"{data}.json").read_bytes()
        digest, _, text = raw.partition(b"\n")
        text = text.rstrip(b"\n")
        if hashlib.sha256(text).hexdigest().encode() != digest:
            return None
        value = json.loads(text)
        if value.pop("format") != FORMAT or value["data"] != data:
            return None
        files = {path: FileState(*row) for path, row in value.pop("files").items()}
        return State(**value, files=files)
    except (OSError, KeyError, TypeError, ValueError):
        return None


def keep_only(index: Path, data: str) -> None:
    """Remove the states of other content, and what a killed writer left."""
    for path in (index / FOLDER).glob("*"):
        if path.name != f"{data}.json":
            remove(path)
    for path in (index / FOLDER).glob(".*.tmp"):
        remove(path)
