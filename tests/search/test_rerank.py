"""MaxSim against the loop that its definition spells."""

import numpy as np
import pytest

from ernie_search.errors import ModelError
from ernie_search.index.codecs import train_codec
from ernie_search.index.maxsim import EMPTY_SCORE
from ernie_search.index.stored_tokens import StoredTokens
from ernie_search.search import maxsim, maxsim_scores
from ernie_search.search.rerank import mean_cosines


def unit_rows(random, count, dim=8):
    rows = random.standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def by_definition(question, passages):
    scores = []
    for passage in passages:
        total = 0.0
        for q in question:
            best = -np.inf
            for p in passage:
                best = max(best, sum(float(a) * float(b) for a, b in zip(q, p, strict=True)))
            total += best
        scores.append(total / len(question))
    return scores


@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_definition(seed):
    random = np.random.default_rng(seed)
    question = unit_rows(random, int(random.integers(1, 9)))
    passages = [unit_rows(random, int(random.integers(1, 12))) for _ in range(6)]
    np.testing.assert_allclose(maxsim(question, passages), by_definition(question, passages), atol=1e-6)


def test_fp16_sums_in_fp32_and_rounds_the_question_too():
    random = np.random.default_rng(0)
    question, passages = unit_rows(random, 5), [unit_rows(random, 7).astype(np.float16) for _ in range(3)]
    scores = maxsim(question, passages)
    assert scores.dtype == np.float32
    rounded = question.astype(np.float16)
    np.testing.assert_allclose(scores, by_definition(rounded, passages), atol=1e-6)
    np.testing.assert_allclose(scores, by_definition(question, passages), atol=3e-4)


def test_empty_passages_come_last_wherever_they_stand():
    random = np.random.default_rng(0)
    question = unit_rows(random, 3)
    full = [unit_rows(random, 4), unit_rows(random, 2)]
    nothing = np.zeros((0, 8), np.float32)
    scores = maxsim(question, [nothing, full[0], nothing, nothing, full[1], nothing])
    np.testing.assert_array_equal(scores[[1, 4]], maxsim(question, full))
    assert (scores[[0, 2, 3, 5]] == EMPTY_SCORE).all()
    assert maxsim(question, [nothing]).tolist() == [EMPTY_SCORE]
    assert maxsim(question, []).shape == (0,)


def test_a_question_without_tokens_prefers_nothing():
    assert maxsim(np.zeros((0, 8)), [np.ones((2, 8))]).tolist() == [0]


def test_another_dimension_is_refused():
    with pytest.raises(ModelError, match="question tokens have 4 dimensions, passage tokens 8"):
        maxsim_scores(np.ones((2, 4)), StoredTokens(np.ones((3, 8), np.float32), np.array([0, 3])))


@pytest.mark.parametrize("codec", ["fp16", "int8"])
def test_a_mean_of_cosines_is_at_most_1(tmp_path, codec):
    """Rounding takes a passage that is the question itself above it, and stored tokens further."""
    rows = unit_rows(np.random.default_rng(0), 400)
    stored = train_codec(codec, 8, rows, 0)
    raw = maxsim_scores(rows[:1], stored.join(stored.encode([row[None] for row in rows])))
    own = [maxsim_scores(row[None], stored.join(stored.encode([row[None]]))).item() for row in rows]
    assert max(own) > 1
    assert mean_cosines(np.array(own, np.float32)).max() == 1
    np.testing.assert_allclose(mean_cosines(raw), raw, atol=1e-2)
