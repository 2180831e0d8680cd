"""Cluster bootstrap and cluster randomisation test against naive loops, and what they are for."""

from itertools import product

import numpy as np
import pytest

from ernie_search.errors import EvaluationError
from ernie_search.evaluation import significance
from ernie_search.evaluation.significance import bootstrap_interval, randomisation_test

SIZES = (1, 4, 2, 7, 3, 1, 5)


def example(sizes: tuple[int, ...] = SIZES, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Values that share what is common to their cluster, in an order that mixes the clusters."""
    generator = np.random.default_rng(seed)
    codes = np.repeat(np.arange(len(sizes)), sizes)
    values = generator.normal(0.2, 1, len(sizes))[codes] + generator.normal(0, 0.3, codes.size)
    order = generator.permutation(codes.size)
    return values[order], [f"c{code}" for code in codes[order]]


def groups(values: np.ndarray, clusters: list[str]) -> list[np.ndarray]:
    """The values of each cluster, by first appearance."""
    each = list(dict.fromkeys(clusters))
    return [values[[one == cluster for one in clusters]] for cluster in each]


def naive_p(values: np.ndarray, clusters: list[str]) -> float:
    parts = groups(values, clusters)
    seen = abs(values.mean())
    count = 0
    for signs in product((1, -1), repeat=len(parts)):
        flipped = np.concatenate([sign * part for sign, part in zip(signs, parts, strict=True)])
        count += abs(flipped.mean()) >= seen - 1e-12
    return count / 2 ** len(parts)


def naive_interval(values: np.ndarray, clusters: list[str], resamples: int, seed: int) -> tuple[float, float]:
    parts, generator = groups(values, clusters), np.random.default_rng(seed)
    means = []
    for _ in range(resamples):
        drawn = generator.integers(0, len(parts), len(parts))
        means.append(np.concatenate([parts[place] for place in drawn]).mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


@pytest.mark.parametrize("seed", range(4))
def test_exact_p_is_that_of_all_sign_flips_of_whole_clusters(seed: int) -> None:
    values, clusters = example(seed=seed)
    assert randomisation_test(values, clusters=clusters) == pytest.approx(
        naive_p(values, clusters), abs=1e-12
    )


def test_drawn_p_is_near_the_exact_one() -> None:
    values, clusters = example((2, 3) * 7, seed=3)
    drawn = randomisation_test(values, clusters=clusters, permutations=40_000)
    assert drawn == pytest.approx(naive_p(values, clusters), abs=0.01)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_interval_is_that_of_whole_clusters_drawn(seed: int) -> None:
    values, clusters = example(seed=seed)
    found = bootstrap_interval(values, resamples=300, seed=seed, clusters=clusters)
    assert found == pytest.approx(naive_interval(values, clusters, 300, seed), abs=1e-12)


def test_clusters_of_one_are_questions() -> None:
    values = np.random.default_rng(2).normal(0.1, 1, 90)
    each = list(range(90))
    assert randomisation_test(values, clusters=each) == randomisation_test(values)
    assert bootstrap_interval(values, clusters=each) == pytest.approx(bootstrap_interval(values), abs=1e-12)


def test_copies_of_a_question_add_no_evidence() -> None:
    values = np.random.default_rng(5).normal(0.2, 1, 40)
    copied, clusters = np.repeat(values, 5), np.repeat(np.arange(40), 5).tolist()
    plain, kept = bootstrap_interval(values), bootstrap_interval(copied, clusters=clusters)
    assert kept == pytest.approx(plain, abs=1e-12)
    assert randomisation_test(copied, clusters=clusters) == pytest.approx(
        randomisation_test(values), abs=0.01
    )
    wrong = bootstrap_interval(copied)
    assert wrong.high - wrong.low < 0.6 * (plain.high - plain.low)


def test_chunks_and_order_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values, clusters = example((3,) * 70)
    whole = bootstrap_interval(values, clusters=clusters), randomisation_test(values, clusters=clusters)
    assert bootstrap_interval(values, clusters=clusters, seed=1) != whole[0]
    monkeypatch.setattr(significance, "CHUNK_CELLS", 500)
    assert (
        bootstrap_interval(values, clusters=clusters),
        randomisation_test(values, clusters=clusters),
    ) == whole


def test_a_cluster_that_adds_up_to_nothing_does_not_count() -> None:
    """0.1 + 0.2 - 0.3 is 0 but for rounding."""
    values = np.array([0.1, 0.2, -0.3, 0.5, 0.5])
    assert randomisation_test(values, clusters=["a", "a", "a", "b", "c"]) == pytest.approx(2 / 4)
    assert randomisation_test(values[:4], clusters=["a", "a", "a", "b"]) == 1.0


def test_false_alarms_and_coverage_where_questions_depend_on_each_other() -> None:
    """Of 40 clusters of 6 that share most of their difference: the paired ones are wrong, these are not."""
    generator = np.random.default_rng(7)
    clusters = np.repeat(np.arange(40), 6).tolist()
    alarms, plain_alarms, covered = [], [], []
    for _ in range(200):
        values = np.repeat(generator.normal(0, 1, 40), 6) + generator.normal(0, 0.5, 240)
        alarms.append(randomisation_test(values, permutations=200, clusters=clusters) < 0.05)
        plain_alarms.append(randomisation_test(values, permutations=200) < 0.05)
        low, high = bootstrap_interval(values, resamples=200, clusters=clusters)
        covered.append(low <= 0 <= high)
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.04)
    assert np.mean(plain_alarms) > 0.2
    assert np.mean(covered) == pytest.approx(0.94, abs=0.05)


def test_what_cannot_be_tested_is_refused() -> None:
    values = np.array([1.0, 2.0, 3.0])
    for tested in (bootstrap_interval, randomisation_test):
        with pytest.raises(EvaluationError, match="all 3 questions are in one cluster"):
            tested(values, clusters=["a", "a", "a"])
        with pytest.raises(EvaluationError, match="3 values and 2 clusters"):
            tested(values, clusters=["a", "b"])
