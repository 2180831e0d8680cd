"""Which fold a question is of: a function of its positives alone, so that no list of folds has to be kept.

Questions about one passage must be of one fold: a teacher that was shown the passage as the answer to one of
them is over-sure of it for the others, too. With one positive a question none is split; of questions with
several, those that share another than their first may be (``shared_positives`` in a teacher's result).
"""

import hashlib
from collections.abc import Iterable


def fold_of(positives: Iterable[str], folds: int) -> int:
    """The fold of a question: ``0 .. folds - 1``, evenly spread over passages, the same whatever else is
    asked.

    Teacher ``k`` is trained on the questions that are not in fold ``k``, and scores those that are.

    Args:
        positives: ids of all its known positives, in any order; the first by name decides.
        folds: how many.
    """
    digest = hashlib.sha256(f"fold:{min(positives)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % folds


def trains_on(teacher: int, positives: Iterable[str], folds: int) -> bool:
    """Whether this teacher sees the question in training; with one fold the only teacher sees all."""
    return folds == 1 or fold_of(positives, folds) != teacher
