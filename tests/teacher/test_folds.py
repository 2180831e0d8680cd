"""Folds: each question is scored by the one teacher that has not seen it, nor its answer as an answer."""

from ernie_search.teacher.teachers import fold_of, trains_on

QUESTIONS = [{f"p{i}"} for i in range(400)]
"""Positives of each."""


def test_a_question_is_scored_by_the_one_teacher_that_is_not_trained_on_it():
    for folds in (2, 3):
        for positives in QUESTIONS:
            unseen = [k for k in range(folds) if not trains_on(k, positives, folds)]
            assert unseen == [fold_of(positives, folds)]


def test_one_teacher_sees_everything():
    assert all(trains_on(0, positives, 1) and fold_of(positives, 1) == 0 for positives in QUESTIONS)


def test_questions_about_one_passage_are_of_one_fold_whatever_the_order():
    for number in range(100):
        first, second = f"p{number}", f"q{number}"  # p before q, so the first decides
        assert fold_of([second, first], 2) == fold_of([first, second], 2) == fold_of([first], 2)


def test_folds_are_about_even_and_never_change():
    counts = [sum(fold_of(positives, 2) == k for positives in QUESTIONS) for k in range(2)]
    assert min(counts) > 170
    assert [fold_of(positives, 2) for positives in QUESTIONS[:10]] == EXPECTED


EXPECTED = [1, 1, 1, 0, 0, 0, 1, 0, 0, 0]
"""Written down once: another hash would let teachers score what they have seen."""
