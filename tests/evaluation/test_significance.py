"""The randomisation test against scipy's, exact and drawn; comparisons of two runs."""

import numpy as np
import pytest

from ernie_search.errors import EvaluationError
from ernie_search.evaluation import significance
from ernie_search.evaluation.comparison import compare
from ernie_search.evaluation.measures import Measured
from ernie_search.evaluation.significance import bootstrap_interval, randomisation_test

NO_SCIPY = "scipy, the reference, is not installed"


def scipy_p(differences: np.ndarray, resamples: int) -> float:
    stats = pytest.importorskip("scipy.stats", reason=NO_SCIPY)
    found = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=resamples,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


@pytest.mark.parametrize("size", [2, 5, 12])
def test_exact_equals_scipy(size: int) -> None:
    for seed in range(3):
        differences = np.random.default_rng(seed).normal(0.3, 1, size)
        assert randomisation_test(differences) == pytest.approx(scipy_p(differences, 10**6), abs=1e-12)


def test_hand_worked() -> None:
    # of the 8 sign flips of (1, 2, 3) only +++ and --- are as far from 0 as 6
    assert randomisation_test(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / 8)
    # sums of (1, 1, 2): 4, 2, 2, 0, 0, -2, -2, -4; seen: |1 + 1 - 2| = 0
    assert randomisation_test(np.array([1.0, 1.0, -2.0])) == 1.0


def test_equal_sums_count_in_spite_of_rounding() -> None:
    # 0.1 + 0.2 - 0.3 and its like are 0 but for rounding; all eight flips with |sum| >= 0
    assert randomisation_test(np.array([0.1, 0.2, -0.3])) == 1.0
    thirds = np.array([1 / 3, 1 / 2, 1 / 6, 1 / 7, -1 / 7])
    assert randomisation_test(thirds) == pytest.approx(scipy_p(thirds, 10**6))


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.2])
def test_drawn_is_near_scipy(shift: float) -> None:
    differences = np.random.default_rng(8).normal(shift, 1, 200)
    stats = pytest.importorskip("scipy.stats", reason=NO_SCIPY)
    p = randomisation_test(differences)
    assert p == pytest.approx(scipy_p(differences, 20_000), abs=0.02)
    assert p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.02)


def test_drawn_is_near_exact() -> None:
    differences = np.random.default_rng(4).normal(0.5, 1, 16)  # too many to count, few enough for scipy to
    assert randomisation_test(differences, permutations=50_000) == pytest.approx(
        scipy_p(differences, 10**6), abs=0.01
    )


def test_p_is_never_zero_and_no_difference_is_no_evidence() -> None:
    assert randomisation_test(np.ones(500)) == pytest.approx(1 / 10_001)
    assert randomisation_test(np.zeros(500)) == 1.0


def test_zeros_and_the_sign_do_not_matter() -> None:
    differences = np.random.default_rng(4).normal(0.2, 1, 100)
    p = randomisation_test(differences)
    assert randomisation_test(np.concatenate([np.zeros(50), differences])) == p
    assert randomisation_test(-differences) == pytest.approx(p, abs=0.02)


def test_chunks_do_not_change_it_but_the_seed_does(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(4).normal(0.1, 1, 130)
    whole = randomisation_test(differences)
    assert randomisation_test(differences, seed=1) != whole
    monkeypatch.setattr(significance, "CHUNK_CELLS", 1_000)
    assert randomisation_test(differences) == whole


def test_false_alarms_are_as_rare_as_p_says() -> None:
    generator = np.random.default_rng(11)
    ps = [randomisation_test(generator.normal(0, 1, 30), permutations=400) for _ in range(400)]
    assert np.mean(np.array(ps) < 0.05) == pytest.approx(0.05, abs=0.03)


def measured(values: list[float], ids: str = "abcdefghij") -> Measured:
    return Measured(tuple(ids[: len(values)]), {"MRR@10": np.array(values)})


def test_compare() -> None:
    a, b = measured([1.0, 1.0, 0.5, 0.0, 1.0]), measured([0.5, 0.5, 0.5, 0.25, 0.0])
    found = compare(a, b, "MRR@10")
    differences = np.array([0.5, 0.5, 0.0, -0.25, 1.0])
    assert found.difference == pytest.approx(0.35)
    assert (found.wins, found.losses, found.ties) == (3, 1, 1)
    assert (found.low, found.high) == bootstrap_interval(differences)
    assert found.p == pytest.approx(scipy_p(differences, 10**6))
    assert compare(b, a, "MRR@10").difference == pytest.approx(-0.35)


def test_a_run_against_itself() -> None:
    found = compare(measured([1.0, 0.0]), measured([1.0, 0.0]), "MRR@10")
    assert (found.difference, found.low, found.high, found.p, found.ties) == (0, 0, 0, 1, 2)


def test_bad_input_is_refused() -> None:
    with pytest.raises(EvaluationError, match="'c' is only in one"):
        compare(measured([1.0, 1.0]), measured([1.0, 1.0, 1.0]), "MRR@10")
    with pytest.raises(EvaluationError, match="'MRR@1' was not measured"):
        compare(measured([1.0]), measured([1.0]), "MRR@1")
    with pytest.raises(EvaluationError, match="needs one value per question"):
        randomisation_test(np.array([]))
    with pytest.raises(EvaluationError, match="not finite"):
        randomisation_test(np.array([np.inf]))
    with pytest.raises(EvaluationError, match="0 permutations"):
        randomisation_test(np.array([1.0]), permutations=0)
