"""What is wrong with a collection, found in one reading, before hours are spent on it."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ernie_search._util.lines import Placed, Report
from ernie_search._util.trec import contradiction
from ernie_search.data.collection import Collection, ConsequenceError, with_places
from ernie_search.data.id_set import IdSet
from ernie_search.errors import DataError
from ernie_search.types import Judgement, Passage, Query, checked_passage, checked_query

Item = TypeVar("Item", Passage, Query)

MOST = 20
"""Problems after which the search for more ends."""


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """Counts of a collection; the mappings go from a split's name to its figure."""

    name: str
    source: str
    passages: int
    queries: Mapping[str, int]
    positives: Mapping[str, float]
    """Mean number of relevant passages per question."""
    grades: Mapping[str, tuple[int, ...]]
    """The relevance grades that occur."""


class SplitCount:
    """Counts of a split's judgements."""

    def __init__(self) -> None:
        self.asked = IdSet()
        self.positive = IdSet()
        self.judged = self.relevant = 0
        self.grades: set[int] = set()

    def add(self, row: Judgement) -> None:
        """Count a judgement that was not there before."""
        self.asked.add(row.query)
        self.judged += 1
        self.grades.add(row.grade)
        if row.grade > 0:
            self.relevant += 1
            self.positive.add(row.passage)


class LeftOut:
    """Ids that a stream may have lost to faults: of items left out, or any id if an item was unreadable."""

    def __init__(self) -> None:
        self.ids = IdSet()
        self.unread = False

    def __contains__(self, item: str) -> bool:
        return self.unread or item in self.ids


class CheckedReading:
    """The three streams of a collection without faulty items, which are reported with their places.

    Passages and questions have to be read to their end before judgements, which name both.
    Memory: 12 to 24 bytes for each id and each judgement of the split being read; no texts.

    Args:
        collection: what to read.
        report: called with each fault; see ``Report``.
    """

    def __init__(self, collection: Collection, report: Report) -> None:
        self.collection = collection
        self.places = with_places(collection)
        self.passage_ids, self.query_ids = IdSet(), IdSet()
        self.splits: dict[str, SplitCount] = {}
        self.faults = 0
        self._passages_out, self._queries_out = LeftOut(), LeftOut()
        self._report = report

    def passages(self) -> Iterator[Passage]:
        """Each passage without faults; a collection without passages is a fault."""
        left_out = self._passages_out
        yield from self._items(
            self.places.located_passages(self._unread(left_out)), checked_passage, self.passage_ids, left_out
        )
        if not len(self.passage_ids) and not self.faults:
            self._tell(DataError(f"{self.collection.source}: no passages; a collection needs some"))

    def queries(self) -> Iterator[Query]:
        """Each question without faults, judged or not."""
        left_out = self._queries_out
        items = self.places.located_queries(self._unread(left_out))
        return self._items(items, checked_query, self.query_ids, left_out)

    def judgements(self, split: str) -> Iterator[Judgement]:
        """Each judgement of a known question and passage, once.

        Faults: an unknown one (a ``ConsequenceError`` where it may be one that a fault left out), two grades
        for one pair, a split without a relevant passage.
        """
        count = self.splits[split] = SplitCount()
        pairs, graded, before = IdSet(), IdSet(), self.faults
        for where, row in self.places.located_judgements(split, self._tell):
            missing = self._missing(where, row)
            if missing is not None:
                self._tell(missing)
                continue
            pair = f"{row.query}\t{row.passage}"
            if pairs.add(pair):
                graded.add(f"{pair}\t{row.grade}")
                count.add(row)
                yield row
            elif f"{pair}\t{row.grade}" not in graded:
                earlier = next(grade for grade in count.grades if f"{pair}\t{grade}" in graded)
                self._tell(contradiction(where, row, earlier))
        if not count.relevant and self.faults == before:
            what = "no relevant passage for any question" if count.judged else "no questions"
            where = f"{self.collection.source}: split {split!r}"
            self._tell(DataError(f"{where} has {what}; add judgements or delete the split"))

    def info(self) -> CollectionInfo:
        """The counts of the collection; everything has to be read before."""
        asked = {split: len(count.asked) for split, count in self.splits.items()}
        return CollectionInfo(
            name=self.collection.name,
            source=self.collection.source,
            passages=len(self.passage_ids),
            queries=asked,
            positives={s: count.relevant / max(1, asked[s]) for s, count in self.splits.items()},
            grades={split: tuple(sorted(count.grades)) for split, count in self.splits.items()},
        )

    def _items(
        self,
        items: Placed[Item],
        check: Callable[[Item], Item],
        ids: IdSet,
        left_out: LeftOut,
    ) -> Iterator[Item]:
        for where, item in items:
            duplicate = isinstance(item.id, str) and item.id in ids
            if duplicate:
                what = f"duplicate id {item.id!r}; ids must be unique, so rename or remove one"
                self._tell(DataError(f"{where}: {what}"))
            try:
                item = check(item)
            except ValueError as error:
                if isinstance(item.id, str) and item.id:
                    left_out.ids.add(item.id)
                else:
                    left_out.unread = True
                self._tell(DataError(f"{where}: {error}"))
                continue
            if not duplicate:
                ids.add(item.id)
                yield item

    def _missing(self, where: str, row: Judgement) -> DataError | None:
        """The fault of a judgement that names what was not read; one of its own before a consequence."""
        faults = [
            (ConsequenceError if name in left_out else DataError)(
                f"{where}: judges {what} {name!r}, which is not in the {place}; add it or drop the line"
            )
            for what, name, place, ids, left_out in (
                ("query", row.query, "queries", self.query_ids, self._queries_out),
                ("passage", row.passage, "corpus", self.passage_ids, self._passages_out),
            )
            if name not in ids
        ]
        return min(faults, key=lambda fault: isinstance(fault, ConsequenceError), default=None)

    def _unread(self, left_out: LeftOut) -> Report:
        """A report that notes with each fault that an item of unknown id is lost."""

        def tell(error: DataError) -> None:
            left_out.unread = True
            self._tell(error)

        return tell

    def _tell(self, error: DataError) -> None:
        self.faults += 1
        self._report(error)


class TooMany(Exception):  # noqa: N818 - not an error of the data: it ends the search
    """Raised when enough problems were found."""


class Findings:
    """The problems so far, without their consequences. Called with each; stops the search at enough."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.errors: list[DataError] = []

    def __call__(self, error: DataError) -> None:
        if isinstance(error, ConsequenceError):
            return  # its cause is among the problems; once that is corrected, this one is gone, or shows
        self.errors.append(error)
        if len(self.errors) >= self.most:
            raise TooMany


def inspect_collection(
    collection: Collection, most: int = MOST
) -> tuple[list[DataError], CollectionInfo | None]:
    """Read everything once: what is wrong, in the order of reading, and the counts if nothing is.

    Memory: 12 to 24 bytes per id; texts are not kept.

    Args:
        most: stop looking after so many problems.
    """
    found = Findings(most)
    reading = CheckedReading(collection, found)
    try:
        deque(reading.passages(), maxlen=0)
        deque(reading.queries(), maxlen=0)
        for split in collection.splits:
            deque(reading.judgements(split), maxlen=0)
    except TooMany:  # as many as were asked for
        return found.errors, None
    except DataError as error:  # a missing file, or a collection that can only raise
        found.errors.append(error)
    return found.errors, None if found.errors else reading.info()


def find_problems(collection: Collection, most: int = MOST) -> list[DataError]:
    """What is wrong with the collection: see ``inspect_collection``; an empty list if nothing is."""
    return inspect_collection(collection, most)[0]


def first_of(errors: Sequence[DataError], most: int = MOST) -> DataError:
    """The first problem as one line that says how many more there are."""
    more = len(errors) - 1
    number = f"{more} or more others" if len(errors) >= most else f"{more} more" if more else ""
    return DataError(f"{errors[0]}" + (f" ({number})" if number else ""))


def validate(collection: Collection) -> None:
    """Raise the first problem of the collection, with file and line, and how many more there are.

    Raises:
        DataError: one line.
    """
    errors = find_problems(collection)
    if errors:
        raise first_of(errors)
