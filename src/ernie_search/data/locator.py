"""What a source's text names ("csv:faq.csv?text=body"): a place, options, files, and the split of each."""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qsl

from ernie_search._util.files import did_you_mean, fingerprint, remembered_sha256
from ernie_search.errors import DataError

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}
"""Words of file and split names -> what the split is called here."""


def parse_locator(source: str, rest: str, known: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The place that a source names, and its options.

    Args:
        source: the whole source, for messages.
        rest: what stands after the format's colon.
        known: the format's options.

    Raises:
        DataError: no place, an option that the format does not have, one that is given twice.
    """
    place, mark, query = rest.rpartition("?")
    if not mark or Path(rest).exists():
        place, query = rest, ""
    if not place.strip():
        raise DataError(f"{source}: nothing named after the colon; say what to read")
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise DataError(f"{source}: no option {name!r}{did_you_mean(name, known)}")
        if name in options:
            raise DataError(f"{source}: option {name!r} twice; give it once")
        options[name] = value
    if query and not options:
        raise DataError(f"{source}: {query!r} is no option; write ?NAME=VALUE&NAME=VALUE")
    return place, options


def parse_paths(source: str, place: str) -> list[Path]:
    """The files that a place names, separated by commas; DataError for one that is not there."""
    names = [place] if Path(place).expanduser().exists() else place.split(",")
    paths = [Path(name.strip()).expanduser() for name in names if name.strip()]
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file; {source} names it")
    return paths


def stem_of(path: Path) -> str:
    """The file's name without its endings (``nq-train.json.gz`` -> ``nq-train``)."""
    name = path.name.removesuffix(".gz")
    return name.rpartition(".")[0] or name


def split_of(name: str) -> str:
    """The split that a name (of a file, of a data set's own split) mentions; ``train`` if there is none."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), "train")


def files_fingerprint(paths: Sequence[Path], *more: object) -> str:
    """16 hex digits of the files' names and contents, and of what else decides the reading."""
    return fingerprint([[path.name, path.stat().st_size, remembered_sha256(path)] for path in paths], *more)
