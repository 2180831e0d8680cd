"""The BEIR folder: corpus.jsonl[.gz], queries.jsonl[.gz], qrels/SPLIT.tsv. Read as a stream."""

from pathlib import Path
from typing import Any

from ernie_search._util.files import fingerprint, remembered_sha256
from ernie_search._util.lines import Placed, Report, stop
from ernie_search._util.trec import read_judgements
from ernie_search.data.collection import (
    LocatedCollection,
    order_splits,
)
from ernie_search.data.readers import json_name, read_objects
from ernie_search.errors import DataError
from ernie_search.types import Judgement, Passage, Query, checked_passage, checked_query


def string_of(row: dict[str, Any], name: str) -> str:
    """A string of the row that must be there; ValueError says what is wrong with it."""
    if name not in row:
        raise ValueError(f"no {name!r}; each line needs '_id' and 'text'")
    value = row[name]
    if not isinstance(value, str):
        raise ValueError(f"{name!r} is {json_name(value)} where a string belongs; put it in quotes")
    return value


def fields_of(row: dict[str, Any]) -> dict[str, Any]:
    """The fields of a row: its ``metadata`` and whatever else it holds."""
    metadata = row.get("metadata")
    if not isinstance(metadata, (dict, type(None))):
        raise ValueError(f"'metadata' is {json_name(metadata)} where an object belongs")
    others = {key: value for key, value in row.items() if key not in ("_id", "text", "title", "metadata")}
    return {**others, **(metadata or {})}


def parse_passage(row: dict[str, Any]) -> Passage:
    """A corpus line; ValueError says what is wrong. Its text may be absent where it has a title."""
    title = string_of(row, "title") if row.get("title") else ""
    passage = Passage(
        id=string_of(row, "_id"),
        text="" if title and row.get("text") is None else string_of(row, "text"),
        title=title,
        fields=fields_of({key: value for key, value in row.items() if key != "title"}),
    )
    return checked_passage(passage, "_id")


def parse_query(row: dict[str, Any]) -> Query:
    """A queries line; ValueError says what is wrong."""
    query = checked_query(Query(string_of(row, "_id"), string_of(row, "text"), fields_of(row)), "_id")
    answers = query.fields.get("answers", [])
    if not isinstance(answers, list):
        raise ValueError(f"'answers' is {json_name(answers)} where a list of strings belongs")
    wrong = [answer for answer in answers if not isinstance(answer, str)]
    if wrong:
        raise ValueError(f"'answers' holds {json_name(wrong[0])} where a string belongs")
    return query


def find_jsonl(folder: Path, stem: str) -> Path | None:
    """``stem``.jsonl or ``stem``.jsonl.gz, whichever is there; DataError if both are."""
    found = [path for path in (folder / f"{stem}.jsonl", folder / f"{stem}.jsonl.gz") if path.is_file()]
    if len(found) > 1:
        raise DataError(
            f"{folder}: both {found[0].name} and {found[1].name}; remove the one that is not meant"
        )
    return found[0] if found else None


class BeirCollection(LocatedCollection):
    """A BEIR folder. Nothing of it is kept in memory; each call reads what it needs.

    Args:
        folder: has at least a corpus; without qrels there are no splits.
        source: what to call it in messages and reports; the folder's path by default.

    Raises:
        DataError: no such folder, or no corpus in it.
    """

    def __init__(self, folder: Path, source: str = "") -> None:
        if not folder.is_dir():
            what = "a file, not a folder" if folder.exists() else "no such folder"
            raise DataError(f"{folder}: {what}; name a folder of documents, a BEIR folder or 'api:'")
        corpus = find_jsonl(folder, "corpus")
        if corpus is None:
            raise DataError(
                f"{folder}: no corpus.jsonl or corpus.jsonl.gz; a BEIR folder has one, and any other is read "
                f"as documents: files:{folder}"
            )
        super().__init__(folder.resolve().name, source or str(folder))
        self.folder = folder
        self._corpus = corpus
        self._queries = find_jsonl(folder, "queries")

    @property
    def splits(self) -> list[str]:
        """The names of the files in qrels/."""
        return order_splits(path.stem for path in (self.folder / "qrels").glob("*.tsv"))

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the files' names, sizes and contents; the folder may move."""
        files = [
            self._corpus,
            *([self._queries] if self._queries else []),
            *map(self._qrels_file, self.splits),
        ]
        return fingerprint(
            *([str(f.relative_to(self.folder)), f.stat().st_size, remembered_sha256(f)] for f in files),
        )

    def located_passages(self, report: Report = stop) -> Placed[Passage]:
        """Each passage with file and line."""
        return read_objects(self._corpus, parse_passage, report)

    def located_queries(self, report: Report = stop) -> Placed[Query]:
        """Each question of the file, judged or not, with file and line."""
        if self._queries is None:
            if not self.splits:
                return iter(())
            raise DataError(
                f"{self.folder}: qrels but no queries.jsonl or queries.jsonl.gz; add the questions"
            )
        return read_objects(self._queries, parse_query, report)

    def read_split(self, split: str, report: Report) -> Placed[Judgement]:
        """Each judgement of the split with file and line."""
        return read_judgements(self._qrels_file(split), report)

    def _qrels_file(self, split: str) -> Path:
        return self.folder / "qrels" / f"{split}.tsv"
