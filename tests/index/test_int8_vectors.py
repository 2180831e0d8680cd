"""8-bit vectors against the full ones: the same lists, from few full vectors."""

import numpy as np
import pytest

from ernie_search.index.exact import ExactVectors, Int8Vectors, multiplier, numpy_products, quantized


def made(dense, asked=None):
    ids = [f"p{row:05}" for row in np.random.default_rng(9).permutation(len(dense))]
    place = {one: row for row, one in enumerate(ids)}

    def full(names):
        if asked is not None:
            asked.append(len(names))
        return dense[[place[one] for one in names]]

    middle = len(dense) // 3
    parts = [(ids[:middle], dense[:middle]), (ids[middle:], dense[middle:])]
    return ids, Int8Vectors(parts, dense.shape[1], full)


def brute_force(ids, dense, question, k):
    scores = (dense.astype(np.float64) @ question.astype(np.float64)).astype(np.float32)
    order = sorted(range(len(ids)), key=lambda row: (-scores[row], ids[row]))[:k]
    return [ids[row] for row in order], scores[order].tolist()


def normalized(count, dim, seed=0):
    dense = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return dense / np.linalg.norm(dense, axis=1, keepdims=True)


@pytest.mark.parametrize("k", [1, 10, 200])
def test_the_same_lists_as_with_full_vectors(k):
    dense, questions, asked = normalized(3000, 64), normalized(20, 64, seed=1), []
    ids, codes = made(dense, asked)
    for question, ranking in zip(questions, codes.nearest(questions, k), strict=True):
        assert (ranking.ids, ranking.scores.tolist()) == brute_force(ids, dense, question, k)
    assert max(asked) < 5 * k + 50  # few full vectors are looked at


def test_lengths_of_any_size():
    random = np.random.default_rng(3)
    dense = normalized(500, 32) * random.choice([1e-6, 1, 1e5], 500)[:, None].astype(np.float32)
    dense[7] = 0
    questions = normalized(10, 32, seed=2) * np.float32(30)
    ids, codes = made(dense)
    for question, ranking in zip(questions, codes.nearest(questions, 40), strict=True):
        assert ranking.ids == brute_force(ids, dense, question, 40)[0]


def test_near_ties_are_told_apart():
    """Vectors that differ by less than a step of the codes: by codes alone all would be equal."""
    base = normalized(1, 48)[0]
    dense = np.tile(base, (400, 1))
    dense[:, 5] += np.arange(400, dtype=np.float32) * 1e-6
    question = np.zeros((1, 48), np.float32)
    question[0, 5] = 1
    ids, codes = made(dense)
    (ranking,) = codes.nearest(question, 12)
    assert ranking.ids == [ids[row] for row in range(399, 387, -1)]


@pytest.mark.parametrize("k", [1, 4, 30])
def test_equal_ones_are_in_the_order_of_ids(k):
    ids, codes = made(np.tile(normalized(1, 16), (30, 1)))
    (ranking,) = codes.nearest(normalized(1, 16, seed=5), k)
    assert ranking.ids == sorted(ids)[:k]


def test_only_the_allowed_ones():
    dense, questions = normalized(300, 16), normalized(4, 16, seed=1)
    ids, codes = made(dense)
    allowed = ids[::3]
    for one, other in zip(
        codes.nearest(questions, 7, allowed),
        ExactVectors(ids, dense).nearest(questions, 7, allowed),
        strict=True,
    ):
        assert one.ids == other.ids
    assert codes.nearest(questions, 7, [])[0].ids == []


def test_no_vectors():
    _, codes = made(np.zeros((0, 16), np.float32))
    assert codes.nearest(np.ones((2, 16), np.float32), 3)[1].ids == []


@pytest.mark.parametrize("dim", [1, 33, 384, 1100])
def test_products_are_exact_whoever_multiplies(dim):
    codes, _ = quantized(normalized(50, dim))
    codes[0], codes[1] = 127, -127
    exact = codes[:3].astype(np.int64) @ codes.T.astype(np.int64)
    np.testing.assert_array_equal(numpy_products(codes[:3], codes), exact)
    np.testing.assert_array_equal(multiplier(codes)(codes[:3]), exact)
