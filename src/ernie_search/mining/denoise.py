"""Denoising of training lists: negatives that the teacher scores like positives are no negatives any more."""

import hashlib
import heapq
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from ernie_search._util.settings import TypedSettings
from ernie_search.errors import DataError
from ernie_search.mining.lists import Lists, TrainingList, write_lists

POOL = 4096
"""Negatives of all lists, drawn by a hash, that fill lists which denoising leaves too short."""
COUNTED = ("denoised", "too_few", "refilled", "still_short")


class DenoiseSettings(TypedSettings):
    """Limits on a teacher's scores, above which negatives are taken for likely positives; by default none.

    Attributes:
        maximum: denoise negatives with a higher raw score than this.
        margin: denoise negatives that score above the best positive less this (0: above the positive).
        keep_at_least: a list that keeps fewer contrastive negatives is filled up to this number with other
            questions', without scores; set it to the negatives that a training uses.
        drop: leave denoised negatives out of the lists. Otherwise they stay with their scores, and only the
            contrastive terms don't see them: without them the teacher's distribution over a list is little
            more than a smoothed label.
    """

    maximum: float | None = None
    margin: float | None = None
    keep_at_least: int = Field(1, ge=1)
    drop: bool = False


def denoise(lists: Lists, output: Path, settings: DenoiseSettings) -> Lists:
    """Mark the negatives that score too high, so that no contrastive term uses them.

    A negative is denoised if its score is above ``maximum``, or above that of its question's best positive
    less ``margin``. It stays in the list with its score (``kept`` is False) unless ``drop`` is set. A list
    that keeps fewer than ``keep_at_least`` is filled with other questions' negatives, drawn at random, and
    never with its denoised ones. The filled ones have no score (NaN) and rank 0: the contrastive terms use
    them, the terms with a teacher don't. After RocketQA (Qu et al. 2021), which drops.

    Args:
        lists: scored ones, streamed and not changed. What was denoised in them stays so.
        output: the folder of the new lists; that of ``lists`` itself may be named.
        settings: the limits.

    Returns:
        The lists. The counts of their manifest get ``denoised``, the negatives so marked or dropped,
        ``too_few``, the lists of which the limits left fewer than ``keep_at_least``, ``refilled``, the
        negatives that fill them, and ``still_short``, the lists for which there were not enough.

    Raises:
        DataError: the lists carry no scores.
        StorageError: the disk is full or not writable; nothing is left behind.
    """
    if not lists.scored:
        raise DataError(
            f"{lists.folder}: the lists carry no teacher's scores; score them before denoising by scores"
        )
    counts = {**lists.manifest.get("counts", {})} | dict.fromkeys(COUNTED, 0)
    about = {
        **lists.manifest,
        "counts": counts,
        "denoised_from": lists.fingerprint,
        "denoise": settings.model_dump(include=set(DenoiseSettings.model_fields)),
    }
    pool = _pool(lists)

    def denoised() -> Iterator[TrainingList]:
        for one in lists:
            kept = clean(one, settings)
            missing = max(0, settings.keep_at_least - len(kept))
            fillers = _fillers(one, pool, missing)
            counts["denoised"] += len(one.negatives) - len(kept)
            counts["too_few"] += missing > 0
            counts["refilled"] += len(fillers)
            counts["still_short"] += len(fillers) < missing
            yield _filled(_without(one, kept) if settings.drop else _marked(one, kept), fillers)

    return write_lists(output, denoised(), data_fingerprint=lists.data_fingerprint, about=about)


def clean(one: TrainingList, settings: DenoiseSettings) -> list[int]:
    """Places of the contrastive negatives within both limits, or without a score."""
    limit = math.inf if settings.maximum is None else settings.maximum
    known = [score for score in one.positive_scores if not math.isnan(score)]
    if settings.margin is not None and known:
        limit = min(limit, max(known) - settings.margin)
    return [place for place in one.contrastive if not one.negative_scores[place] > limit]


def _marked(one: TrainingList, kept: list[int]) -> TrainingList:
    """The list with its other negatives marked as denoised."""
    if len(kept) == len(one.negatives):
        return one
    stays = set(kept)
    return replace(one, kept=tuple(place in stays for place in range(len(one.negatives))))


def _without(one: TrainingList, kept: list[int]) -> TrainingList:
    """The list without its other negatives."""
    first = len(one.positives)
    return replace(
        one,
        negatives=tuple(one.negatives[place] for place in kept),
        negative_scores=tuple(one.negative_scores[place] for place in kept),
        negative_ranks=tuple(one.negative_ranks[place] for place in kept) if one.negative_ranks else (),
        kept=(),
        parts={
            name: (*scores[:first], *(scores[first + place] for place in kept))
            for name, scores in one.parts.items()
        },
    )


def _filled(one: TrainingList, fillers: list[str]) -> TrainingList:
    """The list with further negatives, of which no score is known."""
    if not fillers:
        return one
    number = len(fillers)
    unknown = (math.nan,) * number
    return replace(
        one,
        negatives=(*one.negatives, *fillers),
        negative_scores=(*one.negative_scores, *unknown),
        negative_ranks=(*one.negative_ranks, *[0] * number)
        if one.negative_ranks or not one.negatives
        else (),
        kept=(*one.kept, *[True] * number) if one.kept else (),
        parts={name: (*scores, *unknown) for name, scores in one.parts.items()},
    )


def _pool(lists: Lists) -> list[str]:
    """Negatives of all lists, each once: the passages of smallest hash, in the order of their hashes."""
    chosen: set[str] = set()
    largest: list[tuple[int, str]] = []  # a heap with the largest hash on top
    for one in lists:
        for passage in one.negatives:
            if passage in chosen:
                continue
            place = -_hash("pool", passage)
            if len(chosen) < POOL:
                heapq.heappush(largest, (place, passage))
                chosen.add(passage)
            elif place > largest[0][0]:
                _, dropped = heapq.heapreplace(largest, (place, passage))
                chosen.remove(dropped)
                chosen.add(passage)
    return [passage for _, passage in sorted(largest, reverse=True)]


def _fillers(one: TrainingList, pool: list[str], number: int) -> list[str]:
    """Passages to fill one list: from its own place in the pool on, without its own passages."""
    if number <= 0:
        return []
    own = {one.query, *one.positives, *one.negatives}  # where questions are passages, not itself either
    start = _hash("fill", one.query) % max(1, len(pool))
    found: list[str] = []
    for passage in (*pool[start:], *pool[:start]):
        if len(found) == number:
            break
        if passage not in own:
            found.append(passage)
    return found


def _hash(what: str, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{what}:{name}".encode()).digest()[:8], "big")
