"""A run re-ranked by teachers: their mean, over the run's first passages."""

import numpy as np
import pytest
from torch import nn

from ernie_search.errors import DataError, SettingsError
from ernie_search.model.cross_encoder import new_cross_encoder
from ernie_search.teacher import Teachers, rerank_run
from tiny_teacher import TRAIN, collection


@pytest.fixture(scope="module")
def teachers(base, tmp_path_factory) -> Teachers:
    folder = tmp_path_factory.mktemp("two")
    for seed in (1, 2):
        new_cross_encoder(base, max_length=60, seed=seed, device="cpu").save(str(folder / str(seed)))
    return Teachers("two", [folder / "1", folder / "2"], device="cpu")


def test_the_first_k_are_ordered_by_the_mean_of_the_logits(teachers):
    run = {
        "d0": {f"p{TRAIN}": 1.0, "n0": 5.0, "n1": 4.0, "n2": 1.0, "p0": 0.5},
        "d3": {"n7": 1.0},
    }
    done: list[int] = []
    found = rerank_run(teachers, collection(), run, "dev", 4, bf16=False, progress=done.append)
    assert sum(done) == 2
    assert list(found) == ["d0", "d3"]
    # n2 and the positive tie for the third place: by id n2 comes first
    assert set(found["d0"]) == {"n0", "n1", f"p{TRAIN}", "n2"}
    assert set(rerank_run(teachers, collection(), run, "dev", 3, bf16=False)["d0"]) == {"n0", "n1", "n2"}
    texts = {p.id: p.full_text for p in collection().passages()}
    questions = {q.id: q.text for q in collection().queries("dev")}
    assert rerank_run(teachers, collection(), run, questions, 4, bf16=False) == found
    for question, scores in found.items():
        pairs = [(questions[question], texts[passage]) for passage in scores]
        each = [model.predict(pairs, activation_fn=nn.Identity()) for model in teachers.all]
        np.testing.assert_allclose(list(scores.values()), np.mean(each, axis=0), atol=1e-5)


def test_what_the_collection_lacks_is_named(teachers):
    with pytest.raises(DataError, match="question 'q0' is not in split 'dev'"):
        rerank_run(teachers, collection(), {"q0": {"p0": 1.0}}, "dev")
    with pytest.raises(DataError, match="run, question 'd0': passage 'x' is not in the corpus"):
        rerank_run(teachers, collection(), {"d0": {"x": 1.0}}, "dev")
    with pytest.raises(DataError, match="run, question 'd0': a score is NaN"):
        rerank_run(teachers, collection(), {"d0": {"p0": float("nan")}}, "dev")
    with pytest.raises(SettingsError, match="k=0"):
        rerank_run(teachers, collection(), {}, "dev", 0)
