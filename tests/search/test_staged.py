"""Documents scored by their best passage."""

import numpy as np

from ernie_search.index import Ranking
from ernie_search.search.fusion import Staged, best_by_parent


def test_best_by_parent():
    staged = Staged.of("dense", Ranking(["a#1", "b#0", "a#0", "c", "b#1"], np.float32([5, 4, 3, 2, 1])))
    best = best_by_parent(staged, ["a", "b", "a", "c", "b"], 2)
    assert (best.ids, best.passages, best.scores.tolist()) == (["a", "b"], ["a#1", "b#0"], [5, 4])
    assert best_by_parent(staged, ["a", "b", "a", "c", "b"], 9).ids == ["a", "b", "c"]


def test_a_stage_that_did_not_look_says_nothing():
    staged = Staged(
        ["a", "b"], ["a", "b"], np.ones(2), {"dense": np.ones(2), "late": np.array([0.5, np.nan])}
    )
    assert staged.stages_of(0) == {"dense": 1.0, "late": 0.5}
    assert staged.stages_of(1) == {"dense": 1.0}
