"""Negatives that the teacher takes for positives, out: training would push away what nobody judged."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ernie_search.errors import DataError
from ernie_search.mining.lists import Lists, TrainingList, write_lists
from ernie_search.mining.settings import DenoiseSettings


def denoise(lists: Lists, output: Path, settings: DenoiseSettings) -> Lists:
    """Write the lists again without the negatives that score too high (RocketQA, Qu et al. 2021).

    A negative goes if its logit is above ``maximum``, or above its question's best positive's less
    ``margin``. Of a list that would keep fewer than ``keep_at_least``, the lowest-scored so many stay.

    Args:
        lists: scored ones, streamed; they are left as they are.
        output: the folder of the new lists; that of ``lists`` itself may be named.
        settings: the limits.

    Returns:
        The lists; to the counts of their manifest come ``denoised``, the negatives dropped, and
        ``too_few``, the lists of which the limits would have left fewer than ``keep_at_least``.

    Raises:
        DataError: the lists carry no scores.
        StorageError: the disk is full or not writable; nothing is left behind.
    """
    if not lists.scored:
        raise DataError(
            f"{lists.folder}: the lists carry no teacher's scores; score them before denoising by scores"
        )
    counts = {**lists.manifest.get("counts", {}), "denoised": 0, "too_few": 0}
    about = {
        **lists.manifest,
        "counts": counts,
        "denoised_from": lists.fingerprint,
        "denoise": settings.model_dump(include=set(DenoiseSettings.model_fields)),
    }

    def denoised() -> Iterator[TrainingList]:
        for one in lists:
            kept = clean(one, settings)
            counts["too_few"] += len(kept) < settings.keep_at_least
            if len(kept) < settings.keep_at_least:
                by_score = sorted(range(len(one.negatives)), key=lambda place: one.negative_scores[place])
                kept = sorted(by_score[: settings.keep_at_least])
            counts["denoised"] += len(one.negatives) - len(kept)
            yield replace(
                one,
                negatives=tuple(one.negatives[place] for place in kept),
                negative_scores=tuple(one.negative_scores[place] for place in kept),
                negative_ranks=tuple(one.negative_ranks[place] for place in kept if one.negative_ranks),
            )

    return write_lists(output, denoised(), data_fingerprint=lists.data_fingerprint, about=about)


def clean(one: TrainingList, settings: DenoiseSettings) -> list[int]:
    """Places of the negatives that are within both limits."""
    limit = math.inf if settings.maximum is None else settings.maximum
    if settings.margin is not None:
        limit = min(limit, max(one.positive_scores) - settings.margin)
    return [place for place, score in enumerate(one.negative_scores) if score <= limit]
