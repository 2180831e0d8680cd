"""How well teachers rank: a run's first passages re-ranked, to be measured beside the run itself."""

from collections.abc import Callable, Mapping
from collections.abc import Collection as Ids
from itertools import islice

from ernie_search.data import Collection
from ernie_search.errors import DataError, SettingsError
from ernie_search.teacher.teachers import Teachers
from ernie_search.types import Run


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


QUESTIONS_AT_ONCE = 32
"""Their pairs are sorted by length together; more of them save little padding."""


def rerank_run(
    teachers: Teachers,
    collection: Collection,
    run: Run,
    questions: str | Mapping[str, str],
    k: int = 100,
    *,
    token_budget: int | None = None,
    bf16: bool | None = None,
    progress: Callable[[int], None] | None = None,
) -> Run:
    """Re-rank a run's first ``k`` passages by the mean of the teachers' logits.

    The mean, as on dev and test no teacher has seen the question, and each is a teacher of half of the lists:
    the first alone would say nothing of the other.

    Args:
        teachers: one or several.
        collection: for the texts; its passages are read once.
        run: any ranking; equal scores are ordered by the passage's id, as where runs are measured.
        questions: the split of the run's questions, or their texts by id.
        k: passages a question; those below are left out.
        token_budget, bf16: see :func:`~ernie_search.model.cross_encoder.score_pairs`.
        progress: called with the number of questions done since its last call.

    Returns:
        A run of at most ``k`` passages a question.

    Raises:
        DataError: a question that the split lacks, or a passage that the corpus lacks.
        SettingsError: ``k`` is below 1.
    """
    if k < 1:
        raise SettingsError(f"k={k}: must be at least 1 passage")
    top = {
        question: sorted(scores, key=lambda passage: (-scores[passage], passage))[:k]
        for question, scores in run.items()
    }
    asked = question_texts(collection, top, questions) if isinstance(questions, str) else questions
    wanted = {p: f"run, question {q!r}: passage" for q, passages in top.items() for p in passages}
    texts = passage_texts(collection, wanted)
    result: Run = {}
    waiting = iter(top.items())
    while group := list(islice(waiting, QUESTIONS_AT_ONCE)):
        pairs = [(asked[q], texts[p]) for q, passages in group for p in passages]
        scores = iter(teachers.mean_scores(pairs, token_budget=token_budget, bf16=bf16).tolist())
        for question, passages in group:
            result[question] = {passage: next(scores) for passage in passages}
        if progress is not None:
            progress(len(group))
    return result
