"""The one-bit codec against the plain loop of its description."""

import numpy as np
import pytest

from ernie_search.encoding import encode_collection
from ernie_search.errors import DataError, IndexStateError, SettingsError
from ernie_search.index import index_shards, open_index, verify
from ernie_search.index.codecs import codec, train_codec
from ernie_search.index.maxsim import maxsim
from ernie_search.index.token_ids import pack_ids
from ernie_search.index.vocabulary_codec import split
from stub_encoder import StubEncoder, numbered_passages

WORDS = 40


def tokens(count: int, dim: int = 16, seed: int = 0, words: int = WORDS) -> tuple[np.ndarray, np.ndarray]:
    """Rows of length one around a direction for each word, and the words' ids."""
    centres = np.random.default_rng(3).standard_normal((words, dim))
    random = np.random.default_rng(seed)
    own = random.integers(0, words, count)
    rows = centres[own] + 0.4 * random.standard_normal((count, dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), (own * 7 + 100).astype(np.int32)


def made(dim: int = 16):
    rows, ids = tokens(3000, dim)
    return train_codec("1bit", dim, rows, seed=0, sample_ids=ids)


def matrices(dim: int = 16) -> tuple[list[np.ndarray], list[bytes]]:
    parts = [tokens(count, dim, seed=count) for count in (3, 0, 1, 17)]
    return [rows for rows, _ in parts], [pack_ids(ids) for _, ids in parts]


@pytest.mark.parametrize("dim", [16, 13, 128])
def test_a_blob_is_a_bit_a_dimension(dim):
    found, ids = matrices(dim)
    assert [len(one) for one in made(dim).encode(found, ids)] == [len(one) * -(-dim // 8) for one in found]


@pytest.mark.parametrize("dim", [1, 3, 8, 11, 16, 64, 96, 128, 200, 384])
def test_bits_fill_the_bytes(dim):
    two, one = split(dim)
    assert two % 4 == 0
    assert two + one <= dim
    assert two // 4 + -(-one // 8) == -(-dim // 8)
    assert split(128) == (24, 80)


@pytest.mark.parametrize("dim", [16, 13, 8])
def test_decoding_is_the_description(dim):
    one = made(dim)
    state = one.state()
    rows, ids = tokens(60, dim, seed=5)
    ids[:5] = 9999  # not in the sample
    (back,) = one.decode(one.encode([rows], [pack_ids(ids)]), [pack_ids(ids)])
    for row, number, found in zip(rows, ids, back, strict=True):
        place = state["ids"].tolist().index(number) if number in state["ids"] else -1
        centre = state["centroids"][place].astype(np.float32)
        expected = centre.copy()
        two, one_bit = split(dim)
        for i in range(two):
            bucket = int((row[i] - centre[i] > state["cutoffs2"][:, i]).sum())
            expected[i] += state["weights2"][bucket, i]
        for i in range(one_bit):
            bit = int(row[two + i] - centre[two + i] > state["cutoffs1"][0, i])
            expected[two + i] += state["weights1"][bit, i]
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)


def test_centroids_are_means_that_lean_towards_the_mean_of_all():
    rows, ids = tokens(3000)
    state = train_codec("1bit", 16, rows, 0, sample_ids=ids).state()
    mean = rows.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(state["centroids"][-1], mean, atol=1e-3)
    for place, number in enumerate(state["ids"]):
        own = rows[ids == number].astype(np.float64)
        np.testing.assert_allclose(state["centroids"][place], (own.sum(0) + mean) / (len(own) + 1), atol=1e-3)
    np.testing.assert_array_equal(state["ids"], np.unique(ids))


def test_bits_are_worth_more_than_the_centroids_alone():
    rows, ids = tokens(500, seed=11)
    one = made()
    (back,) = one.decode(one.encode([rows], [pack_ids(ids)]), [pack_ids(ids)])
    state = one.state()
    alone = state["centroids"][np.searchsorted(state["ids"], ids)].astype(np.float32)
    alone /= np.linalg.norm(alone, axis=1, keepdims=True)
    assert (back * rows).sum(1).mean() > (alone * rows).sum(1).mean() + 0.01
    assert (back * rows).sum(1).mean() > 0.95


def test_its_state_makes_it_again_bit_for_bit():
    found, ids = matrices()
    one = made()
    again = codec("1bit", 16, one.state())
    assert again.encode(found, ids) == one.encode(found, ids)
    blobs = one.encode(found, ids)
    for a, b in zip(one.decode(blobs, ids), again.decode(blobs, ids), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [len(matrix) for matrix in again.decode(blobs, ids)] == [3, 0, 1, 17]
    assert one.encode([], []) == []
    assert one.join([], []).values.shape == (0, 16)


def test_what_does_not_fit_is_refused():
    one, (found, ids) = made(), matrices()
    state = one.state()
    blobs = one.encode(found, ids)
    with pytest.raises(SettingsError, match="needs centroids"):
        codec("1bit", 16)
    with pytest.raises(DataError, match="with 0 ids"):
        train_codec("1bit", 16, tokens(10)[0], 0)
    with pytest.raises(DataError, match="0 tokens"):
        train_codec("1bit", 16, np.zeros((0, 16), np.float32), 0, sample_ids=np.zeros(0, np.int32))
    with pytest.raises(IndexStateError, match="no 'weights1'"):
        codec("1bit", 16, {name: one for name, one in state.items() if name != "weights1"})
    for change in ({"ids": state["ids"][::-1]}, {"ids": state["ids"][:-1]}, {"cutoffs2": np.zeros(3)}):
        with pytest.raises(IndexStateError, match="its state has"):
            codec("1bit", 16, state | change)
    with pytest.raises(IndexStateError, match="no whole number of rows"):
        one.join([b"abc"], [b"ab"])
    with pytest.raises(IndexStateError, match="no ids of"):
        one.join(blobs, [ids[0][:-1], *ids[1:]])
    with pytest.raises(IndexStateError, match="passages' token ids"):
        one.join(blobs, [])


def test_an_index_of_a_plain_encoder_has_it_and_scores_what_it_reads_back(tmp_path):
    model = StubEncoder()
    model.kind = "plain"
    passages = numbered_passages(40)
    encode_collection(model, passages, tmp_path / "shards", data_fingerprint="d")
    index_shards(tmp_path / "shards", tmp_path / "index", tokens="1bit").close()
    with open_index(tmp_path / "index") as index:
        assert index.spec.encoder_kind == "plain"
        ids = [one.id for one in passages]
        held = index.fetch_tokens(ids)
        query = model.encode_joint(["w1 w2 w3"], "query").tokens[0]
        found = [
            held.values[a:b].astype(np.float32)
            for a, b in zip(held.offsets[:-1], held.offsets[1:], strict=True)
        ]
        np.testing.assert_allclose(index.late_scores(query, ids), maxsim(query, found), atol=2e-3)
        assert verify(index, model).problems == []
        raw = model.encode_joint([passages[7].full_text], "passage")
        start = held.offsets[7]
        np.testing.assert_array_equal(held.token_ids[start : start + len(raw.token_ids[0])], raw.token_ids[0])
        cosines = (found[7] * raw.tokens[0]).sum(1)
        assert cosines.min() > 0.8
