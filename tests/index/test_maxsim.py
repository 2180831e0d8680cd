"""Every kernel against the loop that MaxSim's definition spells, and against the others."""

import sys

import numpy as np
import pytest

from ernie_search.errors import ModelError, SettingsError
from ernie_search.index import maxsim as kernels
from ernie_search.index.codecs import codec, train_codec
from ernie_search.index.maxsim import BLOCK_ROWS, EMPTY_SCORE, available, maxsim_scores
from ernie_search.index.stored_tokens import StoredTokens

KERNELS = ["auto", "numkong", "torch", "numpy"]
NAMES = ["fp32", "fp16", "int8", "2bit"]


def score_blobs(question, blobs, one, **options) -> np.ndarray:
    """The scores of passages as they are stored."""
    return maxsim_scores(question, one.join(blobs), **options)


def unit_rows(random: np.random.Generator, count: int, dim: int) -> np.ndarray:
    rows = random.standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def made(name: str, dim: int):
    return train_codec(name, dim, unit_rows(np.random.default_rng(9), 1000, dim), seed=0)


def by_definition(question: np.ndarray, passages: list[np.ndarray]) -> list[float]:
    pairs = ((question.astype(np.float64), passage.astype(np.float64)) for passage in passages)
    return [
        float(np.mean([max(float(q @ p) for p in ps) for q in qs])) if len(ps) else EMPTY_SCORE
        for qs, ps in pairs
    ]


def as_kept(name: str, question: np.ndarray) -> np.ndarray:
    """The question rounded as the kernels round it."""
    if name == "int8":
        step = np.abs(question).max(axis=1, keepdims=True) / 127
        return np.rint(question / step) * step
    return question.astype(np.float16 if name == "fp16" else np.float32)


def some(dim: int, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    random = np.random.default_rng(seed)
    lengths = [0, 5, 1, 0, *random.integers(1, 40, 20), 0]
    return unit_rows(random, 7, dim), [unit_rows(random, length, dim) for length in lengths]


@pytest.fixture(params=KERNELS)
def kernel(request) -> str:
    if request.param not in available():
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dim", [1, 16, 50, 64])
def test_it_is_the_definition_over_what_is_stored(kernel, name, dim):
    question, passages = some(dim)
    one = made(name, dim)
    blobs = one.encode(passages)
    expected = by_definition(as_kept(name, question), one.decode(blobs))
    found = score_blobs(question, blobs, one, kernel=kernel)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_array_equal(found, maxsim_scores(question, one.join(blobs), kernel=kernel))


@pytest.mark.parametrize("dim", [16, 128, 1200])
def test_int8_is_the_same_bit_for_bit_in_every_kernel(dim):
    question, passages = some(dim)
    one = codec("int8", dim)
    stored = one.join(one.encode([*passages, np.ones((3, dim)), -np.ones((2, dim))]))
    extreme = np.concatenate([question, np.ones((1, dim)), -np.ones((1, dim))])
    for asked in (question, extreme):
        found = [maxsim_scores(asked, stored, kernel=kernel) for kernel in available()]
        for other in found[1:]:
            np.testing.assert_array_equal(other, found[0])


def test_int8_keeps_the_order_of_fp32():
    question, passages = some(64, seed=4)
    exact = score_blobs(question, codec("fp32", 64).encode(passages), codec("fp32", 64))
    rounded = score_blobs(question, codec("int8", 64).encode(passages), codec("int8", 64))
    assert np.corrcoef(exact, rounded)[0, 1] > 0.999


def test_a_passage_scores_the_same_wherever_it_stands(kernel):
    """So equal passages tie, and their order is decided by the earlier stage and not by rounding."""
    random = np.random.default_rng(0)
    question, passage = unit_rows(random, 32, 64), unit_rows(random, 37, 64)
    for name in ("fp32", "fp16", "int8"):
        scores = score_blobs(
            question, codec(name, 64).encode([passage] * 300), codec(name, 64), kernel=kernel
        )
        assert len(set(scores.tolist())) == 1


def test_blocks_change_nothing(kernel):
    random = np.random.default_rng(0)
    lengths = [BLOCK_ROWS - 1, 3, BLOCK_ROWS + 5, 1, 0, 2 * BLOCK_ROWS, 7, 7]
    question, passages = unit_rows(random, 2, 4), [unit_rows(random, length, 4) for length in lengths]
    one = codec("fp32", 4)
    found = score_blobs(question, one.encode(passages), one, kernel=kernel)
    alone = [score_blobs(question, one.encode([passage]), one, kernel=kernel)[0] for passage in passages]
    np.testing.assert_allclose(found, alone, atol=1e-6)


def test_nothing_to_score(kernel):
    one = codec("int8", 8)
    question = np.ones((2, 8), np.float32)
    assert score_blobs(question, [], one, kernel=kernel).shape == (0,)
    assert score_blobs(question, one.encode([np.zeros((0, 8))]), one, kernel=kernel).tolist() == [EMPTY_SCORE]
    assert score_blobs(question[:0], one.encode([np.ones((2, 8))]), one, kernel=kernel).tolist() == [0]
    assert score_blobs(np.zeros((1, 8)), one.encode([np.ones((2, 8))]), one, kernel=kernel).tolist() == [0]


def test_refusals(kernel):
    one = codec("fp16", 8)
    with pytest.raises(ModelError, match="question tokens have 4 dimensions, passage tokens 8"):
        score_blobs(np.ones((2, 4)), one.encode([np.ones((1, 8))]), one, kernel=kernel)
    with pytest.raises(SettingsError, match="kernel='nunpy': unknown; did you mean 'numpy'"):
        score_blobs(np.ones((2, 8)), [], one, kernel="nunpy")
    with pytest.raises(SettingsError, match="tokens of type int64"):
        maxsim_scores(np.ones((1, 2)), StoredTokens(np.ones((1, 2), np.int64), np.array([0, 1])))


def test_without_numkong_and_torch_numpy_does_it(monkeypatch):
    question, passages = some(16)
    before = {name: score_blobs(question, made(name, 16).encode(passages), made(name, 16)) for name in NAMES}
    for name in ("numkong", "torch"):
        monkeypatch.setitem(sys.modules, name, None)
    kernels._importable.cache_clear()
    kernels._fastest_int8.cache_clear()
    try:
        assert available() == ["auto", "numpy"]
        with pytest.raises(SettingsError, match="'numkong': not installed; pip install numkong"):
            score_blobs(question, [], made("fp16", 16), kernel="numkong")
        for name in NAMES:
            after = score_blobs(question, made(name, 16).encode(passages), made(name, 16))
            np.testing.assert_allclose(after, before[name], atol=1e-6)
    finally:
        kernels._importable.cache_clear()
        kernels._fastest_int8.cache_clear()


def test_a_kernel_that_is_wrong_is_not_chosen(monkeypatch):
    monkeypatch.setattr(
        kernels, "_torch_int8", lambda query, tokens: np.zeros((len(query), len(tokens)), np.int32)
    )
    kernels._fastest_int8.cache_clear()
    try:
        assert kernels._fastest_int8() != "torch"
    finally:
        kernels._fastest_int8.cache_clear()
