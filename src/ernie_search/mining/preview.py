"""Some lists with their texts: a person can see whether negatives are hard, or positives nobody judged."""

import math
from dataclasses import dataclass

from ernie_search.data import Collection
from ernie_search.errors import DataError, SettingsError
from ernie_search.mining.lists import Lists, TrainingList
from ernie_search.types import Passage, Query


@dataclass(frozen=True, slots=True)
class PreviewPassage:
    """A passage of a list.

    Attributes:
        passage: with title and text.
        score: the teacher's raw logit; None where there is none.
        rank: in the run it was mined from, from 1; 0 for one drawn at random; None where that is not known,
            and for positives.
    """

    passage: Passage
    score: float | None = None
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """One question's list, with texts."""

    query: Query
    positives: list[PreviewPassage]
    negatives: list[PreviewPassage]


def preview(lists: Lists, collection: Collection, number: int = 3) -> list[Preview]:
    """``number`` lists, evenly spread over all of them, with the texts of everything in them.

    Reads lists, questions and passages once each; holds the chosen lists, their texts, and the split's
    questions.

    Raises:
        DataError: the lists are of another collection, or name a question or passage that it lacks.
        SettingsError: ``number`` below 1.
    """
    if number < 1:
        raise SettingsError(f"number of lists to show is {number}; ask for at least 1")
    if lists.data_fingerprint != collection.fingerprint:
        raise DataError(
            f"{lists.folder}: mined from another collection ({lists.data_fingerprint}) than "
            f"{collection.source} is now ({collection.fingerprint}); name that one, or mine again"
        )
    number = min(number, len(lists))
    places = {place * len(lists) // number for place in range(number)}
    chosen = [one for place, one in enumerate(lists) if place in places]
    wanted = {passage for one in chosen for passage in (*one.positives, *one.negatives)}
    passages = {passage.id: passage for passage in collection.passages() if passage.id in wanted}
    asked = {one.query for one in chosen}
    split = str(lists.manifest.get("split", "train"))
    queries = {query.id: query for query in collection.queries(split) if query.id in asked}
    missing = sorted(wanted - passages.keys()) + sorted(asked - queries.keys())
    if missing:
        raise DataError(f"{collection.source}: {missing[0]!r} of {lists.folder} is not in it; mine again")
    return [_with_texts(one, queries[one.query], passages) for one in chosen]


def _with_texts(one: TrainingList, query: Query, passages: dict[str, Passage]) -> Preview:
    unknown = [None] * len(one.negatives)
    positives = zip(one.positives, one.positive_scores or [None] * len(one.positives), strict=True)
    negatives = zip(one.negatives, one.negative_scores or unknown, one.negative_ranks or unknown, strict=True)
    return Preview(
        query,
        [PreviewPassage(passages[passage], score) for passage, score in positives],
        [
            PreviewPassage(passages[passage], None if score is None or math.isnan(score) else score, rank)
            for passage, score, rank in negatives
        ],
    )
