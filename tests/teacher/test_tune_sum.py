"""Weights of a sum, chosen on dev: found where they are known, and counted by the loop that MRR spells."""

import numpy as np
import pytest

from ernie_search.errors import DataError, SettingsError
from ernie_search.evaluation import evaluate_run
from ernie_search.teacher import TeacherSum, open_sum, tune_sum
from ernie_search.teacher.tuning import Pools, _search
from tiny_teacher import DEV, collection


def pools(good: np.ndarray, noise: np.ndarray, relevant: np.ndarray) -> Pools:
    present = np.ones(relevant.shape, bool)
    half = np.arange(len(relevant)) % 2
    return Pools({"good": good, "noise": noise}, noise, relevant, present, half)


def test_noise_gets_no_weight_and_two_halves_of_a_truth_get_both():
    draw = np.random.default_rng(0)
    relevant = np.zeros((80, 20), bool)
    relevant[np.arange(80), draw.integers(0, 20, 80)] = True
    one = relevant + draw.normal(0, 0.8, relevant.shape)
    noise = draw.normal(0, 1, relevant.shape)
    two = 100 * (relevant + draw.normal(0, 0.8, relevant.shape))
    rows = np.ones(80, bool)
    found = _search(pools(one, noise, relevant), rows)
    assert found["good"] == 1.0
    assert found["noise"] < 0.6
    both = pools(one, two, relevant)
    weights = _search(both, rows)
    best = both.values(both.summed(weights)).mean()
    assert best > max(both.values(part).mean() for part in both.parts.values()) + 0.02
    ratio = weights["noise"] * 100 / weights["good"]  # of another scale, which the weight undoes
    assert 0.2 < ratio < 5


def test_reciprocal_ranks_are_those_of_the_evaluation():
    draw = np.random.default_rng(1)
    scores = draw.integers(0, 4, (30, 15)).astype(float)  # many equal ones
    relevant = draw.random((30, 15)) < 0.15
    relevant[:, 0] |= ~relevant.any(axis=1)
    names = [f"p{place:02}" for place in range(15)]
    run = {f"q{row:02}": dict(zip(names, scores[row], strict=True)) for row in range(30)}
    qrels = {
        f"q{row:02}": {name: 1 for name, good in zip(names, relevant[row], strict=True) if good}
        for row in range(30)
    }
    found = pools(scores, scores, relevant).values(scores)
    np.testing.assert_allclose(found, evaluate_run(qrels, run, ["MRR@10"]).of("MRR@10"))


def test_dev_questions_are_re_ranked():
    teacher = open_sum({"bm25": 1.0}, collection())
    seen: list[int] = []
    found = tune_sum(teacher, collection(), k=20, progress=seen.append)
    assert (found.questions, sum(seen)) == (DEV, DEV)
    assert found.weights == {"bm25": 1.0}
    (alone,) = found.components
    assert alone.mrr == found.first_stage.mrr == found.best.mrr == found.held_out.mrr
    fewer = tune_sum(teacher, collection(), k=20, questions=3)
    assert fewer.questions == 3
    run = {f"d{n}": {f"p{n + 24}": 1.0, "n0": 2.0} for n in range(DEV)}
    given = tune_sum(teacher, collection(), run=run, k=20)
    assert given.first_stage.mrr == 0.5


def test_what_cannot_be_tuned_is_refused():
    with pytest.raises(SettingsError, match="no component to weigh"):
        tune_sum(TeacherSum({"llm": 1.0}), collection())
    teacher = open_sum({"bm25": 1.0}, collection())
    with pytest.raises(SettingsError, match="at least 2 passages"):
        tune_sum(teacher, collection(), k=1)
    with pytest.raises(DataError, match="run, question 'd0': passage 'gone' is not in the corpus"):
        tune_sum(teacher, collection(), run={"d0": {"gone": 1.0}})
