"""Which fold a question is of: a function of its id alone, so that no list of folds has to be kept."""

import hashlib


def fold_of(question: str, folds: int) -> int:
    """The fold of a question: ``0 .. folds - 1``, evenly spread, the same whatever else is asked.

    Teacher ``k`` is trained on the questions that are not in fold ``k``, and scores those that are.
    """
    digest = hashlib.sha256(f"fold:{question}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % folds


def trains_on(teacher: int, question: str, folds: int) -> bool:
    """Whether this teacher sees the question in training; with one fold the only teacher sees all."""
    return folds == 1 or fold_of(question, folds) != teacher
