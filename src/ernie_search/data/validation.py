"""Find what is wrong with a collection before hours are spent on it."""

from collections import deque
from collections.abc import Sequence

from ernie_search.data.checks import CheckedReading
from ernie_search.data.collection import Collection, CollectionInfo, ConsequenceError
from ernie_search.errors import DataError

MOST = 20
"""Problems that are collected before giving up: the first few say it all."""


class TooMany(Exception):  # noqa: N818 - not an error of the data, only the end of looking
    """Enough problems were found."""


class Findings:
    """The problems so far, without their consequences. Called with each; stops the search at enough."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.errors: list[DataError] = []

    def __call__(self, error: DataError) -> None:
        if isinstance(error, ConsequenceError):
            return  # its cause is among the problems; once that is mended, this one is gone, or shows
        self.errors.append(error)
        if len(self.errors) >= self.most:
            raise TooMany


def inspect_collection(
    collection: Collection, most: int = MOST
) -> tuple[list[DataError], CollectionInfo | None]:
    """Read everything once: what is wrong, in the order of reading, and the counts if nothing is.

    Memory: 12 to 24 bytes an id; texts are not kept.

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
