"""Find what is wrong with a collection before hours are spent on it."""

from collections.abc import Iterator

from ernie_search.data.collection import Collection, Judgement, Located, Report, stop
from ernie_search.data.qrels import contradiction
from ernie_search.errors import DataError
from ernie_search.types import Passage, Query

MOST = 20
"""Problems that are collected before giving up: the first few say it all."""


class Numbered:
    """Gives a collection that knows no places the numbers of its items."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection

    def located_passages(self, report: Report = stop) -> Iterator[tuple[str, Passage]]:
        """Each passage with its number."""
        for number, passage in enumerate(self.collection.passages(), 1):
            yield f"{self.collection.source}: passage {number}", passage

    def located_queries(self, report: Report = stop) -> Iterator[tuple[str, Query]]:
        """Each question of each split with its number; one that is in two splits is shown once."""
        seen: set[str] = set()
        for split in self.collection.splits:
            own: set[str] = set()
            for number, query in enumerate(self.collection.queries(split), 1):
                if query.id not in seen:
                    own.add(query.id)
                    yield f"{self.collection.source}: split {split!r}, query {number}", query
            seen |= own

    def located_judgements(self, split: str, report: Report = stop) -> Iterator[tuple[str, Judgement]]:
        """Each judgement, with the split as its place."""
        for query, row in self.collection.qrels(split).items():
            for passage, grade in row.items():
                yield f"{self.collection.source}: qrels {split!r}", Judgement(query, passage, grade)


class TooMany(Exception):  # noqa: N818 - not an error of the data, only the end of looking
    """Enough problems were found."""


class Findings:
    """The problems so far. Called with each; stops the search when there are enough."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.errors: list[DataError] = []

    def __call__(self, error: DataError) -> None:
        self.errors.append(error)
        if len(self.errors) >= self.most:
            raise TooMany

    def add(self, message: str) -> None:
        """Note a problem."""
        self(DataError(message))


def check_items(
    items: Iterator[tuple[str, Passage]] | Iterator[tuple[str, Query]], found: Findings
) -> set[str]:
    """The ids, with problems noted: a duplicate id, a text without content."""
    ids: set[str] = set()
    for where, item in items:
        if not item.id:
            found.add(f"{where}: an empty id; give each item one")
        if item.id in ids:
            found.add(f"{where}: duplicate id {item.id!r}; ids must be unique, so rename or remove one")
        if not item.text.strip():
            found.add(f"{where}: empty text of {item.id!r}; fill it in or remove the item")
        ids.add(item.id)
    return ids


def check_split(
    collection: Collection,
    source: Located,
    split: str,
    passages: set[str],
    queries: set[str],
    found: Findings,
) -> None:
    """Note judgements of unknown questions or passages, contradictions, and a split that asks nothing."""
    grades: dict[tuple[str, str], int] = {}
    before, relevant = len(found.errors), False
    for where, row in source.located_judgements(split, found):
        relevant = relevant or row.grade > 0
        if row.query not in queries:
            found.add(
                f"{where}: judges query {row.query!r}, which is not in the queries; add it or drop the line"
            )
        if row.passage not in passages:
            found.add(
                f"{where}: judges passage {row.passage!r}, which is not in the corpus; add it or drop it"
            )
        earlier = grades.setdefault((row.query, row.passage), row.grade)
        if earlier != row.grade:
            found(contradiction(where, row, earlier))
    if not relevant and len(found.errors) == before:
        what = "no relevant passage for any question" if grades else "no questions"
        found.add(f"{collection.source}: split {split!r} has {what}; add judgements or delete the split")


def find_problems(collection: Collection, most: int = MOST) -> list[DataError]:
    """Read everything once and return what is wrong, in the order of reading; an empty list if nothing is.

    Memory: the set of passage ids, the set of query ids and one split's judgements; texts are not kept.

    Args:
        most: stop looking after so many problems.
    """
    found = Findings(most)
    source = collection if isinstance(collection, Located) else Numbered(collection)
    try:
        passages = check_items(source.located_passages(found), found)
        if not passages and not found.errors:
            found.add(f"{collection.source}: no passages; a collection needs some")
        queries = check_items(source.located_queries(found), found)
        for split in collection.splits:
            check_split(collection, source, split, passages, queries, found)
    except TooMany:  # as many as were asked for
        return found.errors
    except DataError as error:  # a missing file, or a collection that can only raise
        found.errors.append(error)
    return found.errors


def validate(collection: Collection) -> None:
    """Raise the first problem of the collection, with file and line, and how many more there are.

    Raises:
        DataError: one line.
    """
    errors = find_problems(collection)
    if errors:
        more = len(errors) - 1
        number = f"{more} or more others" if len(errors) >= MOST else f"{more} more" if more else ""
        raise DataError(f"{errors[0]}" + (f" ({number})" if number else ""))
