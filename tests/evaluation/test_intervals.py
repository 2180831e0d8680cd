"""The bootstrap against scipy's, and against the normal approximation."""

import numpy as np
import pytest

from ernie_search.errors import EvaluationError
from ernie_search.evaluation import significance as intervals
from ernie_search.evaluation.significance import bootstrap_interval

VALUES = np.random.default_rng(3).random(257)


def test_equals_scipy_with_the_same_draws() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy, the reference, is not installed")
    expected = stats.bootstrap(
        (VALUES,), np.mean, n_resamples=2_000, method="percentile", rng=np.random.default_rng(5), axis=0
    ).confidence_interval
    assert bootstrap_interval(VALUES, seed=5) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_near_the_normal_approximation() -> None:
    half = 1.96 * VALUES.std(ddof=1) / np.sqrt(VALUES.size)
    low, high = bootstrap_interval(VALUES, resamples=20_000)
    assert low == pytest.approx(VALUES.mean() - half, rel=0.01)
    assert high == pytest.approx(VALUES.mean() + half, rel=0.01)


def test_chunks_do_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap_interval(VALUES, seed=1)
    monkeypatch.setattr(intervals, "CHUNK_CELLS", 999)
    assert bootstrap_interval(VALUES, seed=1) == whole


def test_level_and_seed_matter_and_the_seed_fixes_it() -> None:
    wide, narrow = bootstrap_interval(VALUES), bootstrap_interval(VALUES, level=0.5)
    assert wide.low < narrow.low < VALUES.mean() < narrow.high < wide.high
    assert (
        bootstrap_interval(VALUES, seed=1) == bootstrap_interval(VALUES, seed=1) != bootstrap_interval(VALUES)
    )


def test_equal_values_have_no_width() -> None:
    assert bootstrap_interval(np.array([0.5])) == (0.5, 0.5)
    assert bootstrap_interval(np.full(9, 0.25)) == (0.25, 0.25)


@pytest.mark.parametrize(
    ("values", "settings", "message"),
    [
        ([], {}, "needs one value per question"),
        ([[1.0]], {}, "shape"),
        ([0.0, float("nan")], {}, "question 1 is not finite"),
        ([1.0], {"level": 95}, "between 0 and 1"),
        ([1.0], {"resamples": 0}, "at least 1 resample"),
    ],
)
def test_bad_input_is_refused(values: list[float], settings: dict[str, int], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        bootstrap_interval(np.array(values), **settings)  # type: ignore[arg-type]
