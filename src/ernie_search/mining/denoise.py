"""Denoising of training lists: negatives that the teacher scores like positives are dropped."""

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
    """Limits on a teacher's scores, above which negatives are dropped as likely positives; by default none.

    Attributes:
        maximum: drop negatives with a higher raw logit than this.
        margin: drop negatives that score above the best positive's logit less this (0: above the positive).
        keep_at_least: a list that keeps fewer negatives is filled up to this number with other questions',
            without scores; set it to the negatives that a training uses.
    """

    maximum: float | None = None
    margin: float | None = None
    keep_at_least: int = Field(1, ge=1)


def denoise(lists: Lists, output: Path, settings: DenoiseSettings) -> Lists:
    """Write the lists again without the negatives that score too high (RocketQA, Qu et al. 2021).

    A negative is dropped if its logit is above ``maximum``, or above the logit of its question's best
    positive less ``margin``. A list that keeps fewer than ``keep_at_least`` is filled with other questions'
    negatives, drawn at random, and never with those dropped. The filled ones have no score (NaN) and rank 0:
    the contrastive terms use them, the terms with a teacher don't.

    Args:
        lists: scored ones, streamed and not changed.
        output: the folder of the new lists; that of ``lists`` itself may be named.
        settings: the limits.

    Returns:
        The lists. The counts of their manifest get ``denoised``, the negatives dropped, ``too_few``, the
        lists of which the limits left fewer than ``keep_at_least``, ``refilled``, the negatives that fill
        them, and ``still_short``, the lists for which there were not enough.

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
            ranks = [one.negative_ranks[place] for place in kept if one.negative_ranks]
            yield replace(
                one,
                negatives=(*(one.negatives[place] for place in kept), *fillers),
                negative_scores=(*(one.negative_scores[place] for place in kept), *[math.nan] * len(fillers)),
                negative_ranks=(*ranks, *[0] * len(fillers)) if one.negative_ranks else (),
            )

    return write_lists(output, denoised(), data_fingerprint=lists.data_fingerprint, about=about)


def clean(one: TrainingList, settings: DenoiseSettings) -> list[int]:
    """Places of the negatives within both limits, or without a score."""
    limit = math.inf if settings.maximum is None else settings.maximum
    if settings.margin is not None:
        limit = min(limit, max(one.positive_scores) - settings.margin)
    return [place for place, score in enumerate(one.negative_scores) if not score > limit]


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
