"""BEIR's data sets by their names alone: fetched once, checked and kept by ir_datasets."""

from pathlib import Path

from ernie_search._util.files import did_you_mean
from ernie_search.data.beir import BeirCollection
from ernie_search.data.collection import Collection
from ernie_search.data.irds import open_irds
from ernie_search.errors import DataError

FORUMS = (
    *("android", "english", "gaming", "gis", "mathematica", "physics"),
    *("programmers", "stats", "tex", "unix", "webmasters", "wordpress"),
)
NAMES = (
    *("arguana", "climate-fever", "dbpedia-entity", "fever", "fiqa", "hotpotqa", "msmarco", "nfcorpus", "nq"),
    *("quora", "scidocs", "scifact", "trec-covid", "webis-touche2020"),
    *(f"cqadupstack/{forum}" for forum in FORUMS),
)
"""BEIR's sets that anybody may fetch; the others need an agreement with their owners."""


def standard_set(source: str) -> str | None:
    """The name of the standard set that a source names; None where it names something else, or a folder."""
    scheme, _, name = source.partition(":")
    return name if scheme == "beir" and name in NAMES and not Path(name).expanduser().exists() else None


def open_beir(rest: str) -> Collection:
    """``beir:FOLDER``, or ``beir:NAME`` for a standard set where no such folder is here.

    Raises:
        DataError: neither a folder nor a set's name; and as ``open_irds``.
    """
    if standard_set(f"beir:{rest}") is not None:
        return open_irds(f"beir/{rest}")
    folder = Path(rest).expanduser()
    if not folder.exists() and len(folder.parts) <= 2 and (meant := did_you_mean(rest, NAMES)):
        raise DataError(f"beir:{rest}: neither a folder nor one of BEIR's sets{meant}")
    return BeirCollection(folder, f"beir:{rest}")
