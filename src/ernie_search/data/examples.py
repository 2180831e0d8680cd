"""Training sets that hold texts: rows of a question, relevant and irrelevant passages; ids are made here."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ernie_search.data.collection import Judgement, Report, order_splits, stop
from ernie_search.data.id_set import IdSet
from ernie_search.data.located import LocatedCollection
from ernie_search.types import Passage, Query

RELEVANT, IRRELEVANT = 1, 0
"""The grades of a positive and of a negative."""


@dataclass(frozen=True, slots=True)
class Example:
    """A question with passages: relevant, irrelevant, and such as are there but not judged."""

    query: Query
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...] = ()
    others: tuple[Passage, ...] = ()

    @property
    def passages(self) -> tuple[Passage, ...]:
        """All of them."""
        return (*self.positives, *self.negatives, *self.others)


LocatedExamples = Iterator[tuple[str, Example]]
ReadExamples = Callable[[Report], LocatedExamples]
ReadPassages = Callable[[Report], Iterator[tuple[str, Passage]]]


def text_id(*parts: str) -> str:
    """An id for a text that came without: 16 hex digits of it, so that the same text is the same item."""
    # a character that no text holds, so that ("a", "bc") and ("ab", "c") differ
    return hashlib.blake2b("\x1f".join(parts).encode(errors="surrogatepass"), digest_size=8).hexdigest()


def pair_key(query: Query, passage: Passage) -> str:
    """One string for a question and a passage; ids have no white space."""
    return f"{query.id}\t{passage.id}"


class ExampleCollection(LocatedCollection):
    """Rows of texts as a collection. Read again for each of the three streams, so never held in memory.

    A question is judged by all rows that ask it. A passage that one row calls relevant stays so when another
    row has it among its negatives. A question without any relevant passage is not judged at all.

    Args:
        name: a short name.
        source: what ``open_collection`` was asked for.
        splits: each split's name and how its rows are read.
        print_of: gives the fingerprint.
        corpus: where the passages come from, if not from the rows.
    """

    def __init__(
        self,
        name: str,
        source: str,
        splits: Mapping[str, ReadExamples],
        print_of: Callable[[], str],
        corpus: ReadPassages | None = None,
    ) -> None:
        super().__init__(name, source)
        self._splits = dict(splits)
        self._print_of = print_of
        self._corpus = corpus

    @property
    def splits(self) -> list[str]:
        """The splits' names."""
        return order_splits(self._splits)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with the content."""
        return self._print_of()

    def located_passages(self, report: Report = stop) -> Iterator[tuple[str, Passage]]:
        """Each passage once, where it is met first."""
        return self._corpus(report) if self._corpus else self._passages_of_rows(report)

    def located_queries(self, report: Report = stop) -> Iterator[tuple[str, Query]]:
        """Each question once, where it is met first."""
        # faults of a row were reported with its passages, unless those came from elsewhere
        seen, report = IdSet(), report if self._corpus else _pass_over(report)
        for split in self.splits:
            for where, example in self._splits[split](report):
                if seen.add(example.query.id):
                    yield where, example.query

    def read_split(self, split: str, report: Report) -> Iterator[tuple[str, Judgement]]:
        """First all relevant pairs of the split, then the irrelevant ones."""
        read, report = self._splits[split], _pass_over(report)
        relevant, asked, irrelevant = IdSet(), IdSet(), IdSet()
        for where, example in read(report):
            for passage in example.positives:
                asked.add(example.query.id)
                if relevant.add(pair_key(example.query, passage)):
                    yield where, Judgement(example.query.id, passage.id, RELEVANT)
        for where, example in read(report):
            for passage in example.negatives if example.query.id in asked else ():
                key = pair_key(example.query, passage)
                if key not in relevant and irrelevant.add(key):
                    yield where, Judgement(example.query.id, passage.id, IRRELEVANT)

    def _passages_of_rows(self, report: Report) -> Iterator[tuple[str, Passage]]:
        seen = IdSet()
        for split in self.splits:
            for where, example in self._splits[split](report):
                for passage in example.passages:
                    if seen.add(passage.id):
                        yield where, passage


def _pass_over(report: Report) -> Report:
    """Skip what is wrong where ``report`` goes on: it was told at the first reading."""
    return stop if report is stop else lambda error: None
