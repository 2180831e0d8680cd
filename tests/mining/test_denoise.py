"""Denoising against the two limits, spelled out."""

import random
from pathlib import Path

import pytest

from ernie_search.errors import DataError
from ernie_search.mining import DenoiseSettings, Lists, TrainingList, denoise, write_lists

GENERATOR = random.Random(0)
LISTS = [
    TrainingList(
        f"q{n}",
        ("p", "r")[: 1 + n % 2],
        tuple(f"n{k}" for k in range(n % 9)),
        tuple(float(GENERATOR.randrange(0, 8)) for _ in range(1 + n % 2)),
        tuple(GENERATOR.randrange(-16, 18) / 2 for _ in range(n % 9)),
        tuple(range(1, 1 + n % 9)),
    )
    for n in range(200)
]


def scored(folder: Path) -> Lists:
    return write_lists(
        folder, LISTS, data_fingerprint="d", about={"counts": {"filled": 3, "denoised": 0}, "split": "train"}
    )


@pytest.mark.parametrize("maximum", [None, 2.0, -100.0])
@pytest.mark.parametrize("margin", [None, 0.0, 1.5, -2.0])
@pytest.mark.parametrize("keep", [1, 3])
def test_both_limits(tmp_path: Path, maximum: float | None, margin: float | None, keep: int) -> None:
    settings = DenoiseSettings(maximum=maximum, margin=margin, keep_at_least=keep)
    cleaned = denoise(scored(tmp_path / "a"), tmp_path / "b", settings)
    dropped = too_few = 0
    for before, after in zip(LISTS, cleaned, strict=True):
        pairs = list(zip(before.negatives, before.negative_scores, before.negative_ranks, strict=True))
        best = max(before.positive_scores)
        good = [
            pair
            for pair in pairs
            if not (maximum is not None and pair[1] > maximum)
            and not (margin is not None and pair[1] > best - margin)
        ]
        if len(good) < keep:
            too_few += 1
            lowest = sorted(pairs, key=lambda pair: pair[1])[:keep]
            good = [pair for pair in pairs if pair in lowest]
        dropped += len(pairs) - len(good)
        assert list(zip(after.negatives, after.negative_scores, after.negative_ranks, strict=True)) == good
        assert (after.query, after.positives, after.positive_scores) == (
            before.query,
            before.positives,
            before.positive_scores,
        )
    assert cleaned.manifest["counts"] == {"filled": 3, "denoised": dropped, "too_few": too_few}
    assert cleaned.manifest["denoise"] == {"maximum": maximum, "margin": margin, "keep_at_least": keep}
    assert cleaned.manifest["split"] == "train"
    assert cleaned.data_fingerprint == "d"


def test_in_place_and_without_ranks(tmp_path: Path) -> None:
    one = TrainingList("q", ("p",), ("a", "b"), (1.0,), (2.0, 0.0))
    lists = write_lists(tmp_path / "a", [one], data_fingerprint="d", about={})
    cleaned = denoise(lists, tmp_path / "a", DenoiseSettings(margin=0.5))
    assert list(cleaned) == [TrainingList("q", ("p",), ("b",), (1.0,), (0.0,))]
    assert cleaned.manifest["denoised_from"] == lists.fingerprint


def test_unscored_lists_are_refused(tmp_path: Path) -> None:
    lists = write_lists(tmp_path / "a", [TrainingList("q", ("p",), ("a",))], data_fingerprint="d", about={})
    with pytest.raises(DataError, match="carry no teacher's scores"):
        denoise(lists, tmp_path / "b", DenoiseSettings(margin=0.0))
