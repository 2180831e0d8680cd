"""Steps are a function of seed and step, and hold what a loss needs."""

import re

import pytest

from ernie_search.errors import SettingsError, TrainingError
from ernie_search.losses import candidates
from ernie_search.training import TrainSettings
from ernie_search.training.batches import Example, StepBatches


def examples(number: int = 10) -> list[Example]:
    return [
        Example(f"q{i}", (f"p{i}", f"p{i}b"), tuple(f"n{i}-{place}" for place in range(5)))
        for i in range(number)
    ]


def make(
    number: int = 10, *, steps: int = 9, questions: int = 3, negatives: int = 2, seed: int = 1
) -> StepBatches:
    return StepBatches(examples(number), steps=steps, questions=questions, negatives=negatives, seed=seed)


def test_a_step_is_the_same_whatever_was_read_before():
    forwards, backwards = make(), make()
    read_forwards = [forwards[step] for step in range(9)]
    read_backwards = [backwards[step] for step in reversed(range(9))]
    assert read_forwards == read_backwards[::-1]
    assert read_forwards[5] == make()[5]


def test_the_number_of_steps_changes_no_step():
    assert make(steps=4)[3] == make(steps=400)[3]


def test_another_seed_is_another_order():
    assert [make(seed=1)[s].questions for s in range(3)] != [make(seed=2)[s].questions for s in range(3)]


def test_no_question_comes_twice_in_an_epoch_and_epochs_differ():
    batches = make()  # 3 steps of 3 questions an epoch; the tenth question waits for the next
    epochs = [[q for step in range(3) for q in batches[3 * epoch + step].questions] for epoch in range(3)]
    for epoch in epochs:
        assert len(set(epoch)) == 9
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert {question for epoch in epochs for question in epoch} == {f"q{i}" for i in range(10)}


def test_a_group_is_a_positive_and_distinct_negatives_of_its_question():
    for step in range(9):
        batch = make()[step]
        for question, group, positives in zip(batch.questions, batch.groups, batch.positives, strict=True):
            number = question[1:]
            assert positives == {f"p{number}", f"p{number}b"}
            assert group[0] in positives
            assert len(set(group[1:])) == 2
            assert all(passage.startswith(f"n{number}-") for passage in group[1:])


def test_both_positives_and_all_negatives_are_drawn_in_time():
    batches = make(3, steps=60)
    groups = [group for step in range(60) for group in batches[step].groups]
    assert {group[0] for group in groups} == {f"p{i}{end}" for i in range(3) for end in ("", "b")}
    assert len({passage for group in groups for passage in group[1:]}) == 15


@pytest.mark.parametrize("step", [-1, 9])
def test_a_step_that_is_not_there_ends_an_iteration(step):
    with pytest.raises(IndexError):
        make()[step]


def test_fewer_questions_than_a_batch_are_refused():
    with pytest.raises(
        TrainingError, match=r"2 training questions .* questions_per_batch=3; set .* to 2 or less"
    ):
        make(2)


def test_a_question_with_too_few_negatives_is_refused_by_name():
    with pytest.raises(TrainingError, match=r"'q0' has 5 negatives, negatives=6 .*lower negatives"):
        make(negatives=6)


def test_without_hard_negatives_a_batch_of_one_answer_is_refused_before_training():
    same = [Example(f"q{i}", ("p",), ()) for i in range(4)]
    with pytest.raises(TrainingError, match=r"step 1: question 'q\d' has no negative"):
        StepBatches(same, steps=2, questions=2, negatives=0, seed=0)


def test_a_question_that_is_a_passage_is_no_candidate_of_its_own():
    pair = [Example("one", ("p1",), ("n",), id="p0"), Example("two", ("p0",), ("n",), id="p1")]
    batch = StepBatches(pair, steps=1, questions=2, negatives=1, seed=0)[0]
    allowed = candidates(batch.groups, batch.no_negatives).allowed
    for row, name in enumerate(batch.ids):
        flat = [passage for group in batch.groups for passage in group]
        shown = {passage for passage, there in zip(flat, allowed[row].tolist(), strict=True) if there}
        assert name not in shown
        assert shown == {batch.groups[row][0], "n"}
    with pytest.raises(TrainingError, match="has no negative"):
        StepBatches(pair, steps=1, questions=2, negatives=0, seed=0)


@pytest.mark.parametrize(
    ("pool", "end"),
    [
        ([Example("q0", ("p",), ())], "add passages"),  # a corpus of one passage
        ([Example(f"q{i}", ("p",), ()) for i in range(4)], "add passages"),
        ([Example(f"q{i}", (f"p{i}",), ()) for i in range(4)], "trains"),
        ([Example(f"q{i}", ("p",), ("n",)) for i in range(4)], "trains"),
        ([Example("q0", ("p",), ("n",)), Example("q1", ("p",), ())], "add passages"),
        ([Example("q0", ("p",), ("n", "m"))], "trains"),
    ],
)
@pytest.mark.parametrize("negatives", [0, 1, 3])
@pytest.mark.parametrize("questions", [1, 2, 5])
def test_advice_leads_somewhere(pool, end, negatives, questions):
    """Whoever does what the message says gets another message, or a training: never the same one again."""
    now, seen = {"questions_per_batch": questions, "negatives": negatives}, []
    while now not in seen:
        seen.append(dict(now))
        try:
            TrainSettings(**now).check()
            StepBatches(
                pool, steps=2, questions=now["questions_per_batch"], negatives=now["negatives"], seed=0
            )
        except (SettingsError, TrainingError) as error:
            advice = str(error).rpartition("; ")[2]
            if advice.startswith("add passages"):
                assert end == "add passages" or now["questions_per_batch"] == 1  # no other question beside it
                return
            assert advice.startswith(("set ", "lower "))
            first, *_ = advice.split(", or ")
            now |= {k: int(n) for k, n in re.findall(r"(questions_per_batch|negatives) to (\d+)", first)}
        else:
            assert end == "trains"
            return
    pytest.fail(f"in circles: {seen}")


def test_no_questions_at_all_are_refused_without_advice_on_the_batch():
    with pytest.raises(TrainingError, match="there is no training question") as caught:
        StepBatches([], steps=1, questions=1, negatives=1, seed=0)
    assert "questions_per_batch" not in str(caught.value)
