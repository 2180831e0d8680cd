"""What a finished stage leaves: ``stage.json``, written last, by which the next call knows it again."""

import platform
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ernie_search.errors import StorageError
from ernie_search.files import fingerprint, read_json, sha256_file, write_json

STAGE_FILE = "stage.json"
FORMAT = 1
"""Goes up when a manifest written by an older version can no longer be read."""
LIBRARIES = ("ernie-search", "sentence-transformers", "torch", "transformers")
UNCHECKED = ("README.md",)
"""Model cards: text for people, which they may edit; it holds durations, so it differs from run to run."""

Plain = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StageManifest:
    """A finished stage.

    Attributes:
        name, kind: of the stage.
        settings: its settings as plain values.
        inputs: fingerprint of all that it read, by what it is.
        gives: what later stages read: a path inside its folder, or the name of a ready model.
        outputs: SHA-256 of each file that must not change, by its path inside the folder.
        counts: what it says of itself.
        versions: of Python and the libraries that made it.
        seconds: that the calls which did it took.
        seed: of the stage; ``None`` where nothing is drawn.
    """

    name: str
    kind: str
    settings: Plain
    inputs: Plain
    gives: str
    outputs: dict[str, str]
    counts: Plain
    versions: dict[str, str]
    seconds: float
    seed: int | None
    format: int = FORMAT

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with what went in and with what came out; not with time or place."""
        return fingerprint(self.kind, self.settings, self.inputs, self.outputs)

    def write(self, folder: Path) -> None:
        """Write ``stage.json``: from now on the stage is done."""
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
        if not isinstance(values, dict) or values.get("format") != FORMAT or set(values) != names:
            raise StorageError(f"{path}: not of a stage in format {FORMAT}; delete {folder} to do it again")
        return StageManifest(**values)

    def altered(self, folder: Path) -> str | None:
        """The first output that is no longer what the stage wrote, and how; ``None`` if all are."""
        for name, digest in self.outputs.items():
            path = folder / name
            if not path.is_file():
                return f"{path} is missing"
            if sha256_file(path) != digest:
                return f"{path} was altered since then (its SHA-256 differs)"
        return None

    def differences(self, settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
        """Settings that are others now: ``["steps 80, now 100"]``.

        A setting that is newer than the manifest counts as its default.
        """
        before = {**defaults, **self.settings}
        names = sorted(before.keys() | settings.keys())
        return [
            f"{name} {before.get(name)}, now {settings.get(name)}"
            for name in names
            if before.get(name) != settings.get(name)
        ]


def versions() -> dict[str, str]:
    """Python's and the libraries' versions, by name."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def checksums(folder: Path, outputs: Iterable[str]) -> dict[str, str]:
    """SHA-256 of every file below ``outputs`` (files and folders inside ``folder``), by its path there."""
    return {str(path.relative_to(folder)): sha256_file(path) for path in _files(folder, outputs)}


def _files(folder: Path, outputs: Iterable[str]) -> Iterator[Path]:
    for name in outputs:
        path = folder / name
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        yield from (one for one in found if one.is_file() and one.name not in UNCHECKED)


def weights_identity(model: str) -> str:
    """A hub name as it is; of a directory what its weights are, so that it may be moved but not changed."""
    weights = sorted(Path(model).rglob("*.safetensors")) if Path(model).is_dir() else []
    return fingerprint([sha256_file(path) for path in weights]) if weights else model
