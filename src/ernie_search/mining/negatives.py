"""Hard negatives: passages that a search ranks high and that nobody judged relevant."""

import hashlib
import math
import random
from collections.abc import Collection as Known
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ernie_search.data import Collection
from ernie_search.errors import DataError, SettingsError
from ernie_search.types import Qrels, Run

SPARE = 8
"""Random passages drawn beyond those that are needed."""


@dataclass(frozen=True, slots=True)
class MinedNegatives:
    """Mined negatives, and counts of what was left out.

    Attributes:
        negatives: query id -> distinct passage ids, in random order: a part of the list is as fair a sample.
        positives_removed: known positives that stood in the rank windows.
        own_removed: passages there that are the question itself (with its id), or copies of its text.
        copies_removed: passages there whose text is that of a known positive.
        short: queries that got fewer negatives than asked, after filling.
        filled: negatives drawn from the whole corpus because a window held too few.
        unjudged: queries of the run without judgements, left out: any of their passages may be a positive.
        absent: judged queries that the run lacks.
        left_out: passages there that are relevant in another split, or copies of such.
    """

    negatives: dict[str, list[str]]
    positives_removed: int
    own_removed: int
    copies_removed: int
    short: int
    filled: int
    unjudged: int
    absent: int
    left_out: int = 0


def mine_negatives(
    run: Run,
    qrels: Qrels,
    number: int,
    *,
    first: int = 0,
    last: int = 100,
    seed: int = 0,
    corpus_ids: Sequence[str] | None = None,
    text_keys: Mapping[str, bytes] | None = None,
    question_keys: Mapping[str, bytes] | None = None,
    held: Known[str] = (),
) -> MinedNegatives:
    """Draw ``number`` negatives for each judged query of ``run`` from its ranks ``first`` to ``last``.

    What is drawn for a query depends on the seed, its id and its own passages: not on the other
    queries, nor on any order. Equal scores are ranked by passage id.

    Args:
        run: candidates, higher scores first.
        qrels: judgements; passages with a grade above 0 are never drawn, nor is one with the question's id:
            where questions are passages (ArguAna, Quora), it is the question itself.
        number: negatives per query.
        first: ranks skipped at the top (0: none), where unjudged positives are likeliest.
        last: the rank, counted from 0 and known positives included, at which the window ends.
        seed: of the drawing.
        corpus_ids: all passage ids. Given, a list too short is filled with random ones (not from the
            skipped ranks); else it stays short. No passage is ever repeated in a list.
        text_keys: :func:`~ernie_search.mining.passage_table.text_key` of every passage; given, one whose
            text is that of a known positive, or of the passage with the question's id, is no negative either.
        question_keys: the same of the questions' texts; given, no copy of a question is its negative.
        held: passages that are no query's negatives, nor are copies of them, as far as ``text_keys`` tell:
            what is relevant in other splits, see :func:`relevant_elsewhere`.

    Raises:
        SettingsError: ``number`` below 1, an impossible window, or one that is smaller than ``number``
            with nothing to fill from.
        DataError: a NaN score.
    """
    if number < 1:
        raise SettingsError(f"number of negatives is {number}; ask for at least 1")
    if first < 0 or last <= first:
        raise SettingsError(
            f"rank window is {first} to {last}; it must start at 0 or above and end after its start"
        )
    if last - first < number and corpus_ids is None:
        raise SettingsError(
            f"{number} negatives asked from {last - first} ranks ({first} to {last}); widen the window, "
            "ask for fewer, or give the corpus to fill from"
        )
    everything = None if corpus_ids is None else list(dict.fromkeys(corpus_ids))
    negatives: dict[str, list[str]] = {}
    removed = own = copies = left = short = filled = unjudged = 0
    never = set(held)
    never_keys = {key for one, key in (text_keys or {}).items() if one in never}
    for query_id, scores in run.items():
        if query_id not in qrels:
            unjudged += 1
            continue
        positives = {passage_id for passage_id, grade in qrels[query_id].items() if grade > 0}
        top = best_first(scores, f"question {query_id!r}")[:last]
        found = [passage_id for passage_id in top[first:] if passage_id not in positives]
        removed += len(top[first:]) - len(found)
        keys = text_keys or {}
        relevant = {keys[passage_id] for passage_id in positives if passage_id in keys}
        itself = {known[query_id] for known in (keys, question_keys or {}) if query_id in known} - relevant
        others = [one for one in found if one != query_id and keys.get(one) not in itself]
        own += len(found) - len(others)
        free = [one for one in others if one not in never and keys.get(one) not in never_keys]
        left += len(others) - len(free)
        candidates = [one for one in free if keys.get(one) not in relevant]
        copies += len(free) - len(candidates)
        generator = generator_of(seed, query_id)
        drawn = generator.sample(candidates, min(number, len(candidates)))
        if len(drawn) < number and everything is not None:
            # A few to spare: what they leave out, the question and copies, is seen only once it is drawn.
            more = _draw_others(
                everything, positives.union(top, never), number - len(drawn) + SPARE, generator
            )
            more = [
                one for one in more if one != query_id and keys.get(one) not in relevant | itself | never_keys
            ]
            more = more[: number - len(drawn)]
            filled += len(more)
            drawn += more
        short += len(drawn) < number
        negatives[query_id] = drawn
    return MinedNegatives(
        negatives=negatives,
        positives_removed=removed,
        own_removed=own,
        copies_removed=copies,
        short=short,
        filled=filled,
        unjudged=unjudged,
        absent=sum(query_id not in run for query_id in qrels),
        left_out=left,
    )


def relevant_elsewhere(collection: Collection, splits: Sequence[str], mined: str) -> set[str]:
    """Passages that are relevant to a question of one of these splits.

    Memory holds their ids.

    Args:
        collection: of the splits.
        splits: such as dev and test.
        mined: the split whose questions get the negatives.

    Raises:
        SettingsError: ``splits`` names ``mined``.
        DataError: the collection has no such split.
    """
    if mined in splits:
        raise SettingsError(
            f"the positives of split {mined!r} cannot be left out of its own negatives: they are other "
            "questions' negatives; name other splits, such as dev,test"
        )
    return {
        passage
        for split in splits
        for grades in collection.qrels(split).values()
        for passage, grade in grades.items()
        if grade > 0
    }


def best_first(scores: Mapping[str, float], where: str) -> list[str]:
    """Passages by falling score, equal scores by id, as evaluation ranks them.

    Raises:
        DataError: a score is NaN; the message begins with ``where``.
    """
    if any(map(math.isnan, scores.values())):
        raise DataError(f"{where}: a score is NaN; repair the run first")
    return sorted(scores, key=lambda passage: (-scores[passage], passage))


def generator_of(seed: int, query_id: str) -> random.Random:
    """A random generator for one query; seeded by a hash that is the same in every process."""
    return random.Random(hashlib.blake2b(f"{seed}\0{query_id}".encode(), digest_size=8).digest())


def _draw_others(
    everything: list[str], excluded: set[str], number: int, generator: random.Random
) -> list[str]:
    """Up to ``number`` distinct passages that are not ``excluded``."""
    # at most len(excluded) of the draws can be excluded ones, so this many always suffice
    draws = generator.sample(everything, min(len(everything), number + len(excluded)))
    return [passage_id for passage_id in draws if passage_id not in excluded][:number]
