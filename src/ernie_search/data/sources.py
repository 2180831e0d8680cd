"""Where collections come from: a format is one file and one line here."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ernie_search._util.files import did_you_mean, fingerprint
from ernie_search._util.lines import Placed, Report, stop
from ernie_search.data.api_docs import ApiDocs
from ernie_search.data.beir import BeirCollection
from ernie_search.data.collection import Collection, WrappedCollection, with_places
from ernie_search.data.dpr import open_dpr
from ernie_search.data.files import FilesCollection, is_document, open_files
from ernie_search.data.hf import open_hf
from ernie_search.data.irds import open_irds
from ernie_search.data.marco import open_marco
from ernie_search.data.standard_sets import open_beir
from ernie_search.data.table import open_csv, open_jsonl
from ernie_search.errors import DataError
from ernie_search.types import Passage

FORMATS: dict[str, Callable[[str], Collection]] = {
    "api": ApiDocs,
    "beir": open_beir,
    "csv": open_csv,
    "dpr": open_dpr,
    "files": open_files,
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

OF_BEIR = ("corpus.jsonl", "corpus.jsonl.gz", "queries.jsonl", "queries.jsonl.gz", "qrels")
"""A folder with one of these is, or was meant as, a BEIR folder; any other is one of documents."""

WITHOUT_TITLES = "titles=none"
"""The option, of every format, that leaves the titles out."""

# two letters at least, so that a Windows drive is a path
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9_-]+):(.*)", re.DOTALL)


def open_collection(source: str | Path) -> Collection:
    """Open a collection by name.

    Args:
        source: "path/to/folder" (a BEIR folder where it has a corpus.jsonl, else its documents),
            "beir:path/to/folder", "beir:scifact" (a standard set, which is fetched), "files:path/to/folder",
            a document's path, "api:" (the documentation of the installed Python packages), "api:numpy,scipy"
            (of these packages), or one of "irds:", "hf:", "dpr:", "marco:", "csv:", "jsonl:" (docs/data.md
            has an example of each). With the option "?titles=none" the passages of any format come without
            their titles.

    Raises:
        DataError: unknown format, missing folder or file, unknown package.
    """
    source = str(source)
    match = SCHEME.fullmatch(source)
    if match is None or Path(source).exists():
        if not source.strip():
            raise DataError("no collection named; give a folder of documents, a BEIR folder or 'api:'")
        path = Path(source).expanduser()
        scheme = next((name for name, sign in SIGNS.items() if sign(path)), "")
        if scheme:
            raise DataError(f"{path}: no BEIR folder; did you mean '{scheme}:{source}'?")
        if _holds_documents(path):
            return open_files(source)
        return BeirCollection(path, source)
    scheme, rest = match.groups()
    if scheme not in FORMATS:
        raise DataError(
            f"{source}: unknown collection format {scheme!r}{did_you_mean(scheme, list(FORMATS))}"
        )
    rest, off = take_titles_off(rest)
    found = FORMATS[scheme](rest)
    return WithoutTitles(found, source) if off else found


def open_documents(source: str | Path) -> FilesCollection | None:
    """The folder of documents, or the document, that a source names; None where it names something else.

    Raises:
        DataError: see ``open_files``.
    """
    source = str(source)
    if source.startswith("files:") and not Path(source).exists():
        rest, off = take_titles_off(source.removeprefix("files:"))
        return None if off else open_files(rest)
    return open_files(source) if source.strip() and _holds_documents(Path(source).expanduser()) else None


def _holds_documents(path: Path) -> bool:
    """Whether a path without a format is read as documents: a folder that is no BEIR folder, or one file."""
    if path.is_dir():
        return not any((path / name).exists() for name in OF_BEIR)
    return path.is_file() and is_document(path.name)


def take_titles_off(rest: str) -> tuple[str, bool]:
    """A source's part after the colon, without the option ``titles=none``, and whether that was there."""
    place, mark, options = rest.rpartition("?")
    parts = options.split("&")
    if not mark or WITHOUT_TITLES not in parts or Path(rest).exists():
        return rest, False
    others = "&".join(part for part in parts if part != WITHOUT_TITLES)
    return f"{place}?{others}" if others else place, True


class WithoutTitles(WrappedCollection):
    """Another collection without its titles; a passage that is only a title keeps it, as its text."""

    @property
    def fingerprint(self) -> str:
        """Another one than with titles: models, lists and indexes of the two must not be mixed."""
        return fingerprint(self.inner.fingerprint, WITHOUT_TITLES)

    def located_passages(self, report: Report = stop) -> Placed[Passage]:
        """Each passage, its title left out."""
        for where, passage in with_places(self.inner).located_passages(report):
            text = passage.text if passage.text.strip() else passage.title
            yield where, replace(passage, text=text, title="")
