"""The lists that are learnt from: each question's first passages of hybrid search, with a teacher's scores.

The teacher is a sum of what search reads anyway: late interaction of the untrained model's raw token states,
their question's tokens under the root of their idf, and BM25. No negative is left out: what the teacher puts
near or above the question's own passage is marked, so that only the terms with a teacher see it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field, field_validator

from ernie_search._util.settings import TypedSettings
from ernie_search.adaptation.questioned import TRAIN, QuestionedCollection
from ernie_search.adaptation.searching import READINGS, Found
from ernie_search.errors import SettingsError
from ernie_search.mining import Lists
from ernie_search.mining.lists import TrainingList, write_lists
from ernie_search.teacher.sums import check_weights, weighted_sum
from ernie_search.types import Query

Parts = dict[str, tuple[float, ...]]
Scorer = Callable[[str, Sequence[str]], Mapping[str, "np.ndarray[tuple[int], np.dtype[np.float32]]"]]
"""A question and passages to what each reading scores for these."""
ROUNDING = 1e-6


class ListSettings(TypedSettings):
    """What is learnt from, for each question.

    Attributes:
        length: first passages of hybrid search.
        teacher: weights of its readings, on the scales of search: ``late`` (a mean cosine), ``bm25`` (the
            square of its share, 0 to 1), ``dense`` (a cosine). The default is what hybrid search weighs.
        margin: a negative whose sum is not so far below the question's own passage is no negative for the
            contrastive terms.
    """

    length: int = Field(64, ge=2, le=200)
    teacher: dict[str, float] = Field(default_factory=lambda: {"late": 1.0, "bm25": 0.4})
    margin: float = Field(0.05, ge=0)

    @field_validator("teacher")
    @classmethod
    def _of_readings(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value:
            if name not in READINGS:
                raise ValueError(f"{name!r} is no reading of search; choose among {', '.join(READINGS)}")
        try:
            return check_weights(value)
        except SettingsError as error:
            raise ValueError(str(error)) from error


def make_lists(
    collection: QuestionedCollection,
    found: Mapping[str, Found],
    folder: Path,
    settings: ListSettings,
    scorer: Scorer,
    progress: Callable[[int], None] | None = None,
) -> Lists:
    """Write the lists of all training questions that have a negative.

    Args:
        collection: whose split ``train`` is learnt from.
        found: first passages, by the question's text.
        folder: of the lists.
        settings: of the lists.
        scorer: of labelled passages that search did not find.
        progress: called with the number of lists done since its last call.

    Raises:
        DataError: there is no list, or a question was not searched.
    """
    counts = {"lists": 0, "without_negatives": 0, "kept": 0, "marked": 0}

    def lists() -> Iterator[TrainingList]:
        qrels = collection.qrels(TRAIN)
        for query in sorted(collection.queries(TRAIN), key=lambda one: one.id):
            made = one_list(query, sorted(qrels[query.id]), found[query.text], settings, scorer)
            if progress is not None:
                progress(1)
            if made is None:
                counts["without_negatives"] += 1
                continue
            counts["lists"] += 1
            counts["kept"] += sum(made.kept)
            counts["marked"] += len(made.kept) - sum(made.kept)
            yield made

    about = {"settings": settings.model_dump(), "counts": counts, "split": TRAIN}
    return write_lists(folder, lists(), data_fingerprint=collection.fingerprint, about=about)


def one_list(
    query: Query, positives: Sequence[str], found: Found, settings: ListSettings, scorer: Scorer
) -> TrainingList | None:
    """The list of one question; None where search found nothing but its own passages."""
    places = {passage: place for place, passage in enumerate(found.ids)}
    known = set(positives) | {query.id}
    negatives = [passage for passage in found.ids if passage not in known]
    if not negatives:
        return None
    missing = [passage for passage in positives if passage not in places]
    extra = scorer(query.text, missing) if missing else {}
    parts: Parts = {}
    for name in READINGS:
        scores = dict(zip(missing, np.asarray(extra[name]).tolist(), strict=True)) if missing else {}
        parts[name] = tuple(
            found.parts[name][places[passage]] if passage in places else scores[passage]
            for passage in (*positives, *negatives)
        )
    total = weighted_sum(parts, settings.teacher)
    own, others = total[: len(positives)], total[len(positives) :]
    limit = min(own) - settings.margin + ROUNDING
    ranks = tuple(places[passage] + 1 for passage in negatives)
    return TrainingList(
        query.id,
        tuple(positives),
        tuple(negatives),
        own,
        others,
        ranks,
        tuple(score < limit for score in others),
        parts,
    )
