"""Where collections come from: a format is one file and one line here."""

import re
from collections.abc import Callable
from pathlib import Path

from ernie_search._util.files import did_you_mean
from ernie_search.data.api_docs import ApiDocs
from ernie_search.data.beir import BeirCollection
from ernie_search.data.collection import Collection
from ernie_search.data.dpr import open_dpr
from ernie_search.data.hf import open_hf
from ernie_search.data.irds import open_irds
from ernie_search.data.marco import open_marco
from ernie_search.data.table import open_csv, open_jsonl
from ernie_search.data.titles import WithoutTitles, take_titles_off
from ernie_search.errors import DataError

FORMATS: dict[str, Callable[[str], Collection]] = {
    "api": ApiDocs,
    "beir": lambda path: BeirCollection(Path(path).expanduser(), f"beir:{path}"),
    "csv": open_csv,
    "dpr": open_dpr,
    "hf": open_hf,
    "irds": open_irds,
    "jsonl": open_jsonl,
    "marco": open_marco,
}
"""The part of a source before the colon -> what opens the part after it."""

SIGNS: dict[str, Callable[[Path], bool]] = {
    "marco": lambda path: any((path / name).is_file() for name in ("collection.tsv", "collection.tsv.gz")),
    "csv": lambda path: path.is_file() and path.name.removesuffix(".gz").endswith((".csv", ".tsv")),
    "jsonl": lambda path: path.is_file() and path.name.removesuffix(".gz").endswith(".jsonl"),
    "dpr": lambda path: path.is_file() and path.name.removesuffix(".gz").endswith(".json"),
}
"""What a path without a format looks like -> the format that was probably meant."""

# two letters at least, so that a Windows drive is a path
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9_-]+):(.*)", re.DOTALL)


def open_collection(source: str) -> Collection:
    """Open a collection by name.

    Args:
        source: "path/to/folder" or "beir:path/to/folder" (a BEIR folder), "api:" (the documentation of the
            installed Python packages), "api:numpy,scipy" (of these packages), or one of "irds:", "hf:",
            "dpr:", "marco:", "csv:", "jsonl:" (docs/data.md has an example of each). With the option
            "?titles=none" the passages of any format come without their titles.

    Raises:
        DataError: unknown format, missing folder or file, unknown package.
    """
    match = SCHEME.fullmatch(source)
    if match is None or Path(source).exists():
        if not source.strip():
            raise DataError("no collection named; give a BEIR folder or 'api:'")
        path = Path(source).expanduser()
        scheme = next((name for name, sign in SIGNS.items() if sign(path)), "")
        if scheme:
            raise DataError(f"{path}: no BEIR folder; did you mean '{scheme}:{source}'?")
        return BeirCollection(path, source)
    scheme, rest = match.groups()
    if scheme not in FORMATS:
        raise DataError(
            f"{source}: unknown collection format {scheme!r}{did_you_mean(scheme, list(FORMATS))}"
        )
    rest, off = take_titles_off(rest)
    found = FORMATS[scheme](rest)
    return WithoutTitles(found, source) if off else found
