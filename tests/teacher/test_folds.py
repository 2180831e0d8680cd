"""Folds: each question is scored by the one teacher that has not seen it."""

from ernie_search.teacher.folds import fold_of, trains_on

QUESTIONS = [f"q{i}" for i in range(400)]


def test_a_question_is_scored_by_the_one_teacher_that_is_not_trained_on_it():
    for folds in (2, 3):
        for question in QUESTIONS:
            unseen = [k for k in range(folds) if not trains_on(k, question, folds)]
            assert unseen == [fold_of(question, folds)]


def test_one_teacher_sees_everything():
    assert all(trains_on(0, question, 1) and fold_of(question, 1) == 0 for question in QUESTIONS)


def test_folds_are_about_even_and_never_change():
    counts = [sum(fold_of(question, 2) == k for question in QUESTIONS) for k in range(2)]
    assert min(counts) > 170
    assert [fold_of(question, 2) for question in QUESTIONS[:10]] == EXPECTED


EXPECTED = [1, 0, 1, 0, 0, 0, 1, 0, 0, 0]
"""Written down once: another hash would let teachers score what they have seen."""
