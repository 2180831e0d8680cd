"""Token codecs: what comes back, how large it is, and what they refuse."""

import numpy as np
import pytest

from ernie_search.errors import DataError, IndexStateError, SettingsError
from ernie_search.index.codecs import codec, train_codec
from ernie_search.index.stored_tokens import TokenCodec

DIM = 24
NAMES = ["fp32", "fp16", "int8", "2bit"]


def unit_rows(random: np.random.Generator, count: int, dim: int = DIM) -> np.ndarray:
    rows = random.standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def made(name: str, dim: int = DIM) -> TokenCodec:
    return train_codec(name, dim, unit_rows(np.random.default_rng(9), 2000, dim), seed=0)


def matrices(dim: int = DIM) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [unit_rows(random, count, dim) for count in (3, 0, 1, 17)]


def test_fp32_is_exact_and_fp16_is_rounding():
    for name, kept in (("fp32", np.float32), ("fp16", np.float16)):
        for matrix, back in zip(
            matrices(), codec(name, DIM).decode(codec(name, DIM).encode(matrices())), strict=True
        ):
            np.testing.assert_array_equal(back, matrix.astype(kept).astype(np.float32))


def test_int8_is_within_half_a_step_of_its_own_scale():
    for matrix, back in zip(matrices(), made("int8").decode(made("int8").encode(matrices())), strict=True):
        step = np.abs(matrix).max(initial=0) / 127
        np.testing.assert_allclose(back, matrix, atol=step * 0.5001 + 1e-7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dim", [1, 5, DIM])
def test_lengths_come_back(name, dim):
    found = made(name, dim).decode(made(name, dim).encode(matrices(dim)))
    assert [one.shape for one in found] == [(3, dim), (0, dim), (1, dim), (17, dim)]
    assert {one.dtype for one in found} == {np.dtype(np.float32)}


@pytest.mark.parametrize("name", NAMES)
def test_join_is_decode_one_after_the_other(name):
    one = made(name)
    blobs = one.encode(matrices())
    joined = one.join(blobs)
    assert joined.values.flags.writeable
    assert joined.offsets.tolist() == [0, 3, 3, 4, 21]
    for a, b in zip(joined.matrices(), one.decode(blobs), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.join([]).offsets.tolist() == [0]
    assert one.join([]).values.shape == (0, DIM)
    assert one.encode([]) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_blob_does_not_depend_on_its_neighbours(name):
    one = made(name)
    assert one.encode(matrices()) == [one.encode([matrix])[0] for matrix in matrices()]


@pytest.mark.parametrize(
    ("name", "size"), [("fp32", 51200), ("fp16", 25600), ("int8", 12804), ("2bit", 3400)]
)
def test_bytes_of_a_passage_of_100_tokens_at_128(name, size):
    one = made(name, 128)
    assert len(one.encode([unit_rows(np.random.default_rng(1), 100, 128)])[0]) == size


@pytest.mark.parametrize("name", NAMES)
def test_it_works_again_from_its_state(name):
    one = made(name)
    again = codec(name, DIM, one.state())
    blobs = one.encode(matrices())
    assert again.encode(matrices()) == blobs
    for a, b in zip(one.decode(blobs), again.decode(blobs), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.name, one.dim, bool(one.state())) == (name, DIM, name == "2bit")


def test_zero_rows_stay_zero():
    for name in ("fp32", "fp16", "int8"):
        (back,) = codec(name, DIM).decode(codec(name, DIM).encode([np.zeros((2, DIM))]))
        assert (back == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_refusals_of_matrices(name):
    one = made(name)
    with pytest.raises(
        DataError, match=r"token matrix 1 has shape \(2, 3\); this index takes \(tokens, 24\)"
    ):
        one.encode([np.ones((1, DIM)), np.ones((2, 3))])
    with pytest.raises(DataError, match="token matrix 0 holds NaN"):
        one.encode([np.full((1, DIM), np.nan)])


def test_what_fp16_cannot_hold():
    with pytest.raises(DataError, match="that fp16 cannot hold"):
        codec("fp16", DIM).encode([np.full((1, DIM), 1e6)])


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_blob_is_refused(name):
    one = made(name)
    blobs = one.encode(matrices())
    with pytest.raises(IndexStateError, match=f"{name} tokens 3: .* verify"):
        one.decode([*blobs[:3], blobs[3][:-1]])


def test_a_damaged_scale_is_refused():
    (blob,) = codec("int8", DIM).encode([np.ones((1, DIM))])
    for scale in (np.nan, 0.0, -1.0):
        with pytest.raises(IndexStateError, match="int8 tokens 0: their scale"):
            codec("int8", DIM).decode([np.float32(scale).tobytes() + blob[4:]])


def test_unknown_settings():
    with pytest.raises(SettingsError, match="token codec 'int9': unknown; did you mean 'int8'"):
        codec("int9", DIM)
    with pytest.raises(SettingsError, match="dim=0"):
        codec("fp16", 0)
    with pytest.raises(SettingsError, match="make it with train_codec"):
        codec("2bit", DIM)
