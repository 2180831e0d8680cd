"""Settings from plain values: typed, and unknown names refused with the nearest known one."""

import pytest

from ernie_search.errors import SettingsError
from ernie_search.training import TrainSettings, parse_settings


def test_strings_are_read_as_what_the_setting_is():
    found = parse_settings({"steps": "20", "learning_rate": "1e-4", "detach_teacher": "false"})
    assert (found.steps, found.learning_rate, found.detach_teacher) == (20, 1e-4, False)


def test_nothing_given_is_the_defaults():
    assert parse_settings({}) == TrainSettings()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"learing_rate": 1}, "unknown setting 'learing_rate'; did you mean 'learning_rate'?"),
        ({"zzzz": 1}, "unknown setting 'zzzz'; known: attention_dropout, "),
        ({1: 1}, "unknown setting 1; known: "),
        ({"steps": "many"}, "setting steps='many': input should be a valid integer"),
        ({"steps": 1.5}, "setting steps=1.5: "),
        ({"steps": [1]}, "setting steps=[1]: "),
        ({"steps": True}, "setting steps=True: a number is needed here"),
        ({"steps": 0}, "setting steps=0: input should be greater than or equal to 1"),
        ({"learning_rate": None}, "setting learning_rate=None: "),
        ({"learning_rate": float("nan")}, "setting learning_rate=nan: "),
        ({"learning_rate": float("inf")}, "setting learning_rate=inf: "),
        ({"precision": "fp16"}, "setting precision='fp16': input should be 'auto', 'bf16', 'fp32' or 'tf32'"),
        ({"negative_first": 30}, "negative_last=30 is not above negative_first=30; widen the window"),
        ({"questions_per_batch": 1, "negatives": 0}, "leaves no negative"),
        ({"distillation_candidates": "own", "negatives": 0}, "its positive alone, with nothing to rank"),
        ({"dense_weight": 0, "late_weight": 0, "interaction_weight": 0}, "no ranking is learned"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(values, words):
    with pytest.raises(SettingsError) as caught:
        parse_settings(values)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tokens_are_needed_where_a_loss_reads_them():
    assert TrainSettings(late_weight=0).needs_tokens
    assert TrainSettings(interaction_weight=0).needs_tokens
    assert not TrainSettings(late_weight=0, interaction_weight=0).needs_tokens


def test_temperatures_of_cosines_draw_advice_where_a_base_is_compared_by_inner_product():
    found = TrainSettings().dot_product_advice()
    assert found is not None
    assert found.endswith("; set dense_temperature=1 student_temperature=1")
    assert "dense_temperature=0.05, student_temperature=0.05 makes" in found
    assert TrainSettings(dense_temperature=1, student_temperature=1).dot_product_advice() is None
    assert TrainSettings(dense_temperature=1, interaction_weight=0).dot_product_advice() is None
    assert TrainSettings(interaction_weight=0, dense_temperature=1, dual_weight=1).dot_product_advice()
