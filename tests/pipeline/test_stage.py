"""Which stage reads what of which, and the orders that cannot work."""

from typing import Any

import pytest

from ernie_search.errors import SettingsError
from ernie_search.pipeline.recipe import make_stage, stage_names
from ernie_search.pipeline.stage import Inputs, Stage, stage_inputs


def stages(*written: str | tuple[str, dict[str, Any]]) -> list[Stage[Any]]:
    pairs = [one if isinstance(one, tuple) else (one, {}) for one in written]
    names = stage_names([name for name, _ in pairs])
    return [make_stage(n, kind, values) for (n, kind), (_, values) in zip(names, pairs, strict=True)]


SCORED = ("cascade", {"cascade_weight": 1, "attention_weight": 1})


def test_two_rounds_read_the_latest_of_everything() -> None:
    path = stages("warm-up", "mine", "teacher", "score", SCORED, "mine", "score", SCORED)
    assert stage_inputs(path) == [
        Inputs(),
        Inputs(model="warm-up"),
        Inputs(lists="mine"),
        Inputs(lists="mine", teacher="teacher"),
        Inputs(model="warm-up", lists="score", teacher="teacher"),
        Inputs(model="cascade"),
        Inputs(lists="mine-2", teacher="teacher"),
        Inputs(model="cascade", lists="score-2", teacher="teacher"),
    ]


def test_a_ready_teacher_reads_nothing_and_a_cascade_without_teacher_needs_no_scores() -> None:
    ready = ("teacher", {"use": "some/cross-encoder"})
    assert stage_inputs(stages("warm-up", ready, "mine", "score"))[1] == Inputs()
    assert stage_inputs(stages("warm-up", "mine", "cascade"))[2] == Inputs(model="warm-up", lists="mine")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (("mine",), "stage 'mine' mines with a trained model; put a warm-up before it"),
        (("warm-up", "teacher"), "stage 'teacher' trains on mined lists; put a mine before it"),
        (("warm-up", "score"), "stage 'score' scores mined lists"),
        (("warm-up", "mine", "score"), "stage 'score' needs a teacher to score with"),
        (("cascade",), "stage 'cascade' trains on mined lists"),
        (("warm-up", "mine", SCORED), "stage 'cascade' has cascade_weight above 0, and the lists of 'mine'"),
        (
            ("warm-up", "mine", "teacher", "score", SCORED, "mine", SCORED),
            "stage 'cascade-2' has cascade_weight above 0, and the lists of 'mine-2'",
        ),
        (
            ("warm-up", "mine", ("cascade", {"attention_weight": 1})),
            "stage 'cascade' has attention_weight above 0, and no stage before it makes a teacher",
        ),
        (
            ("warm-up", ("mine", {"number": 3}), ("cascade", {"negatives": 4})),
            "stage 'cascade' has negatives=4, and mine.number=3 can leave lists of fewer",
        ),
        (
            ("warm-up", "mine", "teacher", ("score", {"margin": 0}), ("cascade", {"negatives": 4})),
            "stage 'cascade' has negatives=4, and score.keep_at_least=1 can leave lists of fewer",
        ),
        ((("warm-up", {"direct_weight": 1}),), "stage 'warm-up' has direct_weight above 0"),
        ((("warm-up", {"interaction_teacher": "frozen"}),), "stage 'warm-up' has interaction_teacher=frozen"),
    ],
)
def test_an_order_that_cannot_work_is_refused(path: Any, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        stage_inputs(stages(*path))
    assert str(caught.value).startswith(words)
