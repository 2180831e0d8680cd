"""Training rows that hold texts in place of ids, as a collection."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ernie_search._util.lines import Placed, Report, stop
from ernie_search.data.beir import parse_passage, parse_query
from ernie_search.data.collection import (
    LocatedCollection,
    order_splits,
)
from ernie_search.data.id_set import IdSet
from ernie_search.types import Judgement, Passage, Query

RELEVANT, IRRELEVANT = 1, 0
"""The grades of a positive and of a negative."""


@dataclass(frozen=True, slots=True)
class Example:
    """A question with relevant and irrelevant passages, and others of the corpus that are not judged."""

    query: Query
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...] = ()
    others: tuple[Passage, ...] = ()

    @property
    def passages(self) -> tuple[Passage, ...]:
        """All passages of the example."""
        return (*self.positives, *self.negatives, *self.others)


Fields = Mapping[str, Any]
ReadExamples = Callable[[Report], Placed[Example]]
ReadPassages = Callable[[Report], Placed[Passage]]


class ExampleCollection(LocatedCollection):
    """Rows of texts as a collection. Read again for each of the three streams, so never held in memory.

    A question is judged by all rows that ask it. A passage that one row calls relevant stays so when another
    row has it among its negatives. A question without any relevant passage is not judged at all.

    Args:
        name: a short name.
        source: what ``open_collection`` was asked for.
        splits: each split's name and how its rows are read.
        fingerprint_of: gives the fingerprint.
        corpus: where the passages come from, if not from the rows.
    """

    def __init__(
        self,
        name: str,
        source: str,
        splits: Mapping[str, ReadExamples],
        fingerprint_of: Callable[[], str],
        corpus: ReadPassages | None = None,
    ) -> None:
        super().__init__(name, source)
        self._splits = dict(splits)
        self._fingerprint_of = fingerprint_of
        self._corpus = corpus

    @property
    def splits(self) -> list[str]:
        """The splits' names."""
        return order_splits(self._splits)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with the content."""
        return self._fingerprint_of()

    def located_passages(self, report: Report = stop) -> Placed[Passage]:
        """Each passage once, where it is met first."""
        return self._corpus(report) if self._corpus else self._passages_of_rows(report)

    def located_queries(self, report: Report = stop) -> Placed[Query]:
        """Each question once, where it is met first."""
        # faults of a row were reported with its passages, unless those came from elsewhere
        seen, report = IdSet(), report if self._corpus else skip_again(report)
        for split in self.splits:
            for where, example in self._splits[split](report):
                if seen.add(example.query.id):
                    yield where, example.query

    def read_split(self, split: str, report: Report) -> Placed[Judgement]:
        """First all relevant pairs of the split, then the irrelevant ones."""
        read, report = self._splits[split], skip_again(report)
        relevant, asked, irrelevant = IdSet(), IdSet(), IdSet()
        for where, example in read(report):
            for passage in example.positives:
                asked.add(example.query.id)
                if relevant.add(f"{example.query.id}\t{passage.id}"):
                    yield where, Judgement(example.query.id, passage.id, RELEVANT)
        for where, example in read(report):
            for passage in example.negatives if example.query.id in asked else ():
                key = f"{example.query.id}\t{passage.id}"
                if key not in relevant and irrelevant.add(key):
                    yield where, Judgement(example.query.id, passage.id, IRRELEVANT)

    def _passages_of_rows(self, report: Report) -> Placed[Passage]:
        seen = IdSet()
        for split in self.splits:
            for where, example in self._splits[split](report):
                for passage in example.passages:
                    if seen.add(passage.id):
                        yield where, passage


def skip_again(report: Report) -> Report:
    """The report for a second reading, which skips faults if ``report`` did not stop at them before."""
    return stop if report is stop else lambda error: None


def text_id(*parts: str) -> str:
    """An id for a text that came without: 16 hex digits of it, so that the same text is the same item."""
    # a character that no text holds, so that ("a", "bc") and ("ab", "c") differ
    return hashlib.blake2b("\x1f".join(parts).encode(errors="surrogatepass"), digest_size=8).hexdigest()


def plain(value: Any) -> Any:
    """A value with what JSON does not know (dates, decimals) as a string, and objects without their nulls."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items() if one is not None}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def make_passage(identifier: str, text: str, title: str = "", fields: Fields | None = None) -> Passage:
    """A checked passage; see ``checked_passage`` for what it refuses by ValueError."""
    row = {"_id": identifier or text_id(title, text), "text": text, "title": title.strip()}
    return parse_passage({**row, "metadata": plain(fields or {})})


def make_query(identifier: str, text: str, fields: Fields | None = None) -> Query:
    """A checked question; ValueError says what is wrong with it."""
    row = {"_id": identifier or text_id(text), "text": text}
    return parse_query({**row, "metadata": plain(fields or {})})
