"""Steps of lists: a function of the seed, cut into parts, and ragged where lists are short."""

import pytest

from ernie_search._util.settings import parse_typed
from ernie_search.errors import SettingsError, TrainingError
from ernie_search.mining.lists import TrainingList
from ernie_search.teacher import TeacherSettings
from ernie_search.teacher.listwise import ListBatches
from tiny_teacher import training_lists


def batches(**changes) -> ListBatches:
    values = {"steps": 9, "questions": 4, "negatives": 4, "backwards": 2, "seed": 3} | changes
    return ListBatches(training_lists(), **values)


def test_a_step_is_the_same_whatever_was_drawn_before():
    first, second = batches(), batches()
    forward = [first[item] for item in range(len(first))]
    assert [second[item] for item in reversed(range(len(second)))] == forward[::-1]
    assert batches(seed=4)[0] != forward[0]


def test_parts_make_up_the_step_and_an_epoch_shows_each_list_once():
    whole, parts = batches(backwards=1), batches(backwards=2)
    assert [parts[0] + parts[1], parts[2] + parts[3]] == [whole[0], whole[1]]
    epoch = [drawn.question for step in range(6) for drawn in whole[step]]
    assert sorted(epoch) == sorted(one.query for one in training_lists())
    again = [drawn.question for step in range(6, 9) for drawn in whole[step]]
    assert again != epoch[: len(again)]


def test_the_positive_is_first_and_short_lists_stay_short():
    known = {one.query: one for one in training_lists()}
    seen = set()
    for drawn in (one for item in range(len(batches())) for one in batches()[item]):
        one = known[drawn.question]
        assert drawn.passages[0] in one.positives
        rest = drawn.passages[1:]
        assert len(set(rest)) == len(rest) == min(4, len(one.negatives))
        assert set(rest) <= set(one.negatives)
        seen.add(len(rest))
    assert seen == {3, 4}


def test_what_cannot_fill_a_step_is_refused():
    with pytest.raises(TrainingError, match="24 lists to train on are fewer than questions_per_batch=30"):
        batches(questions=30)
    with pytest.raises(TrainingError, match="there is no list with a negative to train on; mine lists"):
        ListBatches([], steps=1, questions=1, negatives=1, backwards=1, seed=0)
    with pytest.raises(TrainingError, match="question 'lonely' has no negatives"):
        ListBatches(
            [TrainingList("lonely", ("p0",), ())], steps=1, questions=1, negatives=1, backwards=1, seed=0
        )


def test_settings_are_typed_and_refused_by_name():
    assert parse_typed(TeacherSettings, {"steps": "7", "layers": 2}).steps == 7
    with pytest.raises(SettingsError, match=r"unknown setting 'step'; did you mean 'steps'\?"):
        parse_typed(TeacherSettings, {"step": 7})
    with pytest.raises(SettingsError, match="setting steps=True"):
        parse_typed(TeacherSettings, {"steps": True})
    with pytest.raises(SettingsError, match="backwards=3 does not divide questions_per_batch=4"):
        TeacherSettings(questions_per_batch=4, backwards=3).check()
