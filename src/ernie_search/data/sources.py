"""Where collections come from: a format is one file and one line here."""

import re
from collections.abc import Callable
from pathlib import Path

from ernie_search.data.api_docs import ApiDocs
from ernie_search.data.beir import BeirCollection
from ernie_search.data.collection import Collection
from ernie_search.errors import DataError
from ernie_search.files import did_you_mean

FORMATS: dict[str, Callable[[str], Collection]] = {
    "api": ApiDocs,
    "beir": lambda path: BeirCollection(Path(path).expanduser(), f"beir:{path}"),
}
"""The part of a source before the colon -> what opens the part after it."""

# two letters at least, so that a Windows drive is a path
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9_-]+):(.*)", re.DOTALL)


def open_collection(source: str) -> Collection:
    """Open a collection by name.

    Args:
        source: "path/to/folder" or "beir:path/to/folder" (a BEIR folder), "api:" (the documentation of the
            installed Python packages), "api:numpy,scipy" (of these packages).

    Raises:
        DataError: unknown format, missing folder or file, unknown package.
    """
    match = SCHEME.fullmatch(source)
    if match is None or Path(source).exists():
        if not source.strip():
            raise DataError("no collection named; give a BEIR folder or 'api:'")
        return BeirCollection(Path(source).expanduser(), source)
    scheme, rest = match.groups()
    if scheme not in FORMATS:
        raise DataError(
            f"{source}: unknown collection format {scheme!r}{did_you_mean(scheme, list(FORMATS))}"
        )
    return FORMATS[scheme](rest)
