"""The manifest of a finished stage, ``stage.json``: written last, and compared by later calls."""

import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ernie_search._util.files import fingerprint, read_json, remembered_sha256, sha256_file, write_json
from ernie_search._util.settings import read_record
from ernie_search.errors import StorageError
from ernie_search.training.folder import checked, is_unchecked

STAGE_FILE = "stage.json"
FORMAT = 2
"""Goes up when manifests in an older format can no longer be read."""
LIBRARIES = ("ernie-search", "sentence-transformers", "torch", "transformers")

Plain = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file as it was written; its bytes are compared only if its time changed.

    Attributes:
        sha256: of its bytes.
        size: in bytes.
        modified: time of the last change, in nanoseconds.
        timed: whether it holds durations, so that it differs each time the stage is executed.
    """

    sha256: str
    size: int
    modified: int
    timed: bool = False

    def problem(self, path: Path) -> str | None:
        """What changed since the file was written; ``None`` if nothing did."""
        if not path.is_file():
            return f"{path} is missing"
        now = path.stat()
        if now.st_size == self.size and now.st_mtime_ns == self.modified:
            return None
        if now.st_size != self.size or remembered_sha256(path) != self.sha256:
            return f"{path} was altered since then (its SHA-256 differs)"
        return None


@dataclass(frozen=True, slots=True)
class StageManifest:
    """What a finished stage was made from, and what it made.

    Attributes:
        name, kind: of the stage.
        settings: its settings as plain values.
        inputs: fingerprints of its inputs, by name.
        gives: the output for later stages: a path inside its folder, or the name of a ready model.
        outputs: files that must not change, by their path inside the folder.
        counts: of the stage, such as lists and steps.
        versions: of Python and the libraries that made it.
        seconds: taken by all calls that executed it.
        seed: of the stage; ``None`` where nothing is drawn.
    """

    name: str
    kind: str
    settings: Plain
    inputs: Plain
    gives: str
    outputs: Mapping[str, FileRecord]
    counts: Plain
    versions: dict[str, str]
    seconds: float
    seed: int | None
    format: int = field(default=FORMAT)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with inputs, settings and outputs, but not with time or place."""
        written = {name: one.sha256 for name, one in self.outputs.items() if not one.timed}
        return fingerprint(self.kind, self.settings, self.inputs, written)

    @property
    def checked(self) -> dict[str, FileRecord]:
        """The outputs that must stay as they are."""
        return checked(self.outputs)

    def write(self, folder: Path) -> None:
        """Write ``stage.json``, which marks the stage as finished."""
        write_json(folder / STAGE_FILE, asdict(self))

    @staticmethod
    def read(folder: Path) -> "StageManifest | None":
        """The manifest in ``folder``; ``None`` where there is none.

        Raises:
            StorageError: it is broken, or of another format.
        """
        path = folder / STAGE_FILE
        if not path.is_file():
            return None
        values = read_json(path)
        names = set(StageManifest.__dataclass_fields__)
        try:
            if values["format"] != FORMAT or set(values) != names:
                raise ValueError("of another format")
            return read_record(StageManifest, values)
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(
                f"{path}: not of a stage in format {FORMAT}; delete {folder} to do it again"
            ) from error

    def altered(self, folder: Path) -> str | None:
        """The first output that changed since the stage wrote it, and how; ``None`` if none did."""
        problems = (one.problem(folder / name) for name, one in self.checked.items())
        return next((problem for problem in problems if problem), None)

    def differences(self, settings: Mapping[str, Any]) -> list[str]:
        """Settings that differ now: ``["steps 80, now 100"]``."""
        names = sorted(self.settings.keys() | settings.keys())
        return [
            f"{name} {self.settings.get(name)}, now {settings.get(name)}"
            for name in names
            if self.settings.get(name) != settings.get(name)
        ]


def versions() -> dict[str, str]:
    """Versions of Python and the libraries, by name."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def records(folder: Path, outputs: Iterable[str], *, timed: bool = False) -> dict[str, FileRecord]:
    """Records of every file below ``outputs`` (files and folders inside ``folder``), by its path there.

    Raises:
        StorageError: one of ``outputs`` holds no file.
    """
    found = {}
    for name in outputs:
        files = [one for one in _files(folder / name) if not is_unchecked(one.relative_to(folder).as_posix())]
        if not files:
            raise StorageError(
                f"{folder / name}: the stage did not leave it, or it was removed at once; run again"
            )
        for path in files:
            now = path.stat()
            record = FileRecord(sha256_file(path), now.st_size, now.st_mtime_ns, timed)
            found[str(path.relative_to(folder))] = record
    return found


def _files(path: Path) -> Iterator[Path]:
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return (one for one in found if one.is_file())
