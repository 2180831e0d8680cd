"""The texts behind ids: questions of a split, and passages in one pass over the collection."""

from collections.abc import Collection as Ids

from ernie_search.data import Collection
from ernie_search.errors import DataError


def question_texts(collection: Collection, wanted: Ids[str], split: str) -> dict[str, str]:
    """Texts of the wanted questions.

    Raises:
        DataError: the split lacks one; it is named.
    """
    found = {query.id: query.text for query in collection.queries(split) if query.id in wanted}
    missing = next((name for name in wanted if name not in found), None)
    if missing is not None:
        raise DataError(
            f"{collection.source}: question {missing!r} is not in split {split!r}; "
            "name the collection that the lists or the run were made from"
        )
    return found


def passage_texts(collection: Collection, wanted: dict[str, str]) -> dict[str, str]:
    """Title and text of the wanted passages; nothing else of the collection is held.

    Args:
        collection: read once.
        wanted: passage id -> who wants it, for the message ("question 'q7': its positive").

    Raises:
        DataError: the corpus lacks one; it is named.
    """
    found = {passage.id: passage.full_text for passage in collection.passages() if passage.id in wanted}
    missing = next((name for name in wanted if name not in found), None)
    if missing is not None:
        raise DataError(
            f"{collection.source}: {wanted[missing]} {missing!r} is not in the corpus; "
            "add it, or make the lists anew"
        )
    return found
