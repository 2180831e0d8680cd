"""The two-bit codec against the plain loop of its description, and k-means against brute force."""

import numpy as np
import pytest

from ernie_search.errors import DataError, IndexStateError, SettingsError
from ernie_search.index.codecs import codec, default_centroids, kmeans, nearest, train_codec


def clustered(
    count: int, dim: int = 16, clusters: int = 12, noise: float = 0.05, seed: int = 0
) -> np.ndarray:
    """Rows of length one around a few directions, as the tokens of a vocabulary are."""
    centres = np.random.default_rng(3).standard_normal((clusters, dim))
    random = np.random.default_rng(seed)
    rows = centres[random.integers(0, clusters, count)] + noise * random.standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_nearest_is_brute_force():
    rows, centroids = clustered(300), clustered(20, seed=5)
    expected = [
        int(np.argmin([np.sum((row - c) ** 2) for c in centroids])) for row in rows.astype(np.float64)
    ]
    assert nearest(rows, centroids).tolist() == expected


def test_kmeans_finds_the_clusters_and_never_gets_worse():
    rows = clustered(1200, noise=0.01)

    def error(iterations: int) -> float:
        centroids = kmeans(rows, 24, seed=0, iterations=iterations)
        return float(np.square(rows - centroids[nearest(rows, centroids)]).sum())

    errors = [error(iterations) for iterations in range(1, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0]


def test_a_centroid_without_rows_moves_to_the_furthest():
    rows = np.concatenate([np.zeros((50, 2)), np.ones((1, 2)) * 9, np.ones((1, 2)) * -7]).astype(np.float32)
    found = kmeans(rows, 3, seed=0, iterations=5)
    assert {tuple(one) for one in found.tolist()} == {(0.0, 0.0), (9.0, 9.0), (-7.0, -7.0)}


def test_decoding_is_the_description():
    sample, matrix = clustered(3000), clustered(40, seed=8)
    one = train_codec("2bit", 16, sample, seed=1, centroids=32)
    state = one.state()
    (back,) = one.decode(one.encode([matrix]))
    for row, found in zip(matrix, back, strict=True):
        centre = min(state["centroids"], key=lambda c: float(np.sum((row - c) ** 2)))
        buckets = [int((row[i] - centre[i] > state["cutoffs"][:, i]).sum()) for i in range(16)]
        expected = centre + [state["weights"][bucket, i] for i, bucket in enumerate(buckets)]
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)


def test_values_lie_between_their_limits_and_limits_halfway_between_values():
    state = train_codec("2bit", 16, clustered(4000), seed=1, centroids=32).state()
    cutoffs, weights = state["cutoffs"], state["weights"]
    assert (np.diff(cutoffs, axis=0) >= 0).all()
    assert (weights[0] <= cutoffs[0]).all()
    assert (weights[3] >= cutoffs[2]).all()
    assert ((weights[1] > cutoffs[0]) & (weights[1] <= cutoffs[1])).all()
    np.testing.assert_allclose(cutoffs, (weights[1:] + weights[:-1]) / 2, atol=2e-3)


def test_buckets_of_a_normal_distribution_are_those_of_the_literature():
    """Max 1960, table 1, four levels: values 0.4528 and 1.510, limit 0.9816."""
    sample = np.random.default_rng(0).standard_normal((200_000, 2)).astype(np.float32)
    state = train_codec("2bit", 2, sample, seed=0, centroids=1).state()
    for column in (0, 1):
        np.testing.assert_allclose(state["weights"][:, column], [-1.51, -0.453, 0.453, 1.51], atol=0.06)
        np.testing.assert_allclose(state["cutoffs"][:, column], [-0.982, 0, 0.982], atol=0.06)


def test_more_centroids_lose_less():
    sample, matrix = clustered(4000), clustered(400, seed=8)

    def cosine(count: int) -> float:
        one = train_codec("2bit", 16, sample, seed=1, centroids=count)
        (back,) = one.decode(one.encode([matrix]))
        return float(np.sum(back * matrix, axis=1).mean())

    few, many = cosine(1), cosine(64)
    assert few < many
    assert many > 0.995


def test_the_same_sample_and_seed_give_the_same_codec():
    one, again, other = (train_codec("2bit", 16, clustered(2000), seed=seed).state() for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not np.array_equal(one["centroids"], other["centroids"])


@pytest.mark.parametrize(
    ("sample", "count"), [(1, 1), (64, 1), (128, 2), (300, 4), (10**6, 8192), (10**9, 65536)]
)
def test_centroids_by_default(sample, count):
    assert default_centroids(sample) == count


def test_refusals():
    with pytest.raises(DataError, match="the sample holds no token"):
        train_codec("2bit", 16, np.zeros((0, 16), np.float32), 0)
    with pytest.raises(DataError, match="NaN"):
        train_codec("2bit", 16, np.full((9, 16), np.nan), 0)
    with pytest.raises(SettingsError, match="choose 1 to 9 for a sample of 9 tokens"):
        train_codec("2bit", 16, clustered(9), 0, centroids=10)
    state = train_codec("2bit", 16, clustered(90), 0, centroids=4).state()
    with pytest.raises(IndexStateError, match="has no 'weights'"):
        codec("2bit", 16, {name: state[name] for name in ("centroids", "cutoffs")})
    with pytest.raises(IndexStateError, match="has shapes"):
        codec("2bit", 8, state)
    one = codec("2bit", 16, state)
    (blob,) = one.encode([clustered(1)])
    with pytest.raises(IndexStateError, match="name centroid 4 of 4"):
        one.decode([b"\x04\x00" + blob[2:]])
