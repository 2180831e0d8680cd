"""The best rows of a matrix, whatever shape of product ruled the others out."""

import sys

import numpy as np
import pytest

from ernie_search.index.exact import best_rows, longest


def by_definition(dense, vector, k, rows):
    """Scores in fp64, rounded once; those that are then alike in the order of their rows."""
    scores = (dense[rows].astype(np.float64) * vector.astype(np.float64)).sum(axis=1).astype(np.float32)
    order = sorted(range(len(rows)), key=lambda place: (-scores[place], place))[:k]
    return rows[order], scores[order]


@pytest.fixture(params=["torch", "numpy", "read only"])
def multiplied(request, monkeypatch):
    """By whom the products are made; gives the matrix as it is then."""
    monkeypatch.setitem(
        sys.modules, "torch", None if request.param == "numpy" else pytest.importorskip("torch")
    )

    def held(dense):
        dense.flags.writeable = request.param != "read only"
        return dense

    return held


@pytest.mark.parametrize("k", [1, 7, 50, 1000])
@pytest.mark.parametrize("questions", [1, 3, 130])
def test_nearly_alike_vectors_are_told_apart_as_in_fp64(k: int, questions: int, multiplied) -> None:
    random = np.random.default_rng(k + questions)
    middle = random.standard_normal(384)
    # Differences of the size that fp32 products round off, and some vectors twice.
    dense = (middle + 1e-6 * random.standard_normal((600, 384))).astype(np.float32)
    dense[300:320] = dense[:20]
    dense = multiplied(dense)
    vectors = random.standard_normal((questions, 384)).astype(np.float32)
    chosen = np.flatnonzero(random.random(600) < 0.5)
    for rows in (None, chosen, np.zeros(0, np.int64)):
        found = list(best_rows(dense, vectors, k, longest(dense), rows))
        assert len(found) == questions
        for (places, scores), vector in zip(found, vectors, strict=True):
            wanted, values = by_definition(dense, vector, k, np.arange(600) if rows is None else rows)
            assert places.tolist() == wanted.tolist()
            np.testing.assert_allclose(scores, values, rtol=1e-6)


def test_a_question_alone_scores_as_among_others() -> None:
    random = np.random.default_rng(0)
    dense = random.standard_normal((500, 48)).astype(np.float32)
    vectors = random.standard_normal((70, 48)).astype(np.float32)
    together = list(best_rows(dense, vectors, 20, longest(dense)))
    for vector, (rows, scores) in zip(vectors, together, strict=True):
        ((alone, same),) = best_rows(dense, vector[None], 20, longest(dense))
        assert alone.tolist() == rows.tolist()
        assert same.tobytes() == scores.tobytes()


def test_nothing_to_choose_from() -> None:
    none = np.zeros((0, 4), np.float32)
    assert longest(none) == 0
    ((rows, scores),) = best_rows(none, np.ones((1, 4), np.float32), 3, 0.0)
    assert (len(rows), len(scores)) == (0, 0)
