"""Denoising against the two limits, spelled out."""

import importlib
import math
import random
from pathlib import Path

import pytest

from ernie_search.errors import DataError
from ernie_search.mining import DenoiseSettings, Lists, TrainingList, denoise, write_lists

denoise_module = importlib.import_module("ernie_search.mining.denoise")
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
NEGATIVES = {passage for one in LISTS for passage in one.negatives}


def scored(folder: Path) -> Lists:
    return write_lists(
        folder, LISTS, data_fingerprint="d", about={"counts": {"filled": 3, "denoised": 0}, "split": "train"}
    )


@pytest.mark.parametrize("maximum", [None, 2.0, -100.0])
@pytest.mark.parametrize("margin", [None, 0.0, 1.5, -2.0])
@pytest.mark.parametrize("keep", [1, 3])
def test_both_limits(tmp_path: Path, maximum: float | None, margin: float | None, keep: int) -> None:
    settings = DenoiseSettings(maximum=maximum, margin=margin, keep_at_least=keep, drop=True)
    cleaned = denoise(scored(tmp_path / "a"), tmp_path / "b", settings)
    dropped = too_few = refilled = short = 0
    for before, after in zip(LISTS, cleaned, strict=True):
        pairs = list(zip(before.negatives, before.negative_scores, before.negative_ranks, strict=True))
        best = max(before.positive_scores)
        good = [
            pair
            for pair in pairs
            if not (maximum is not None and pair[1] > maximum)
            and not (margin is not None and pair[1] > best - margin)
        ]
        dropped += len(pairs) - len(good)
        ranks = after.negative_ranks or (0,) * len(after.negatives)  # of a list without any, none are known
        found = list(zip(after.negatives, after.negative_scores, ranks, strict=True))
        assert found[: len(good)] == good
        fillers = found[len(good) :]
        there = len(NEGATIVES - {*before.negatives, *before.positives})
        assert len(fillers) == min(there, max(0, keep - len(good)))
        short += len(good) + len(fillers) < keep
        too_few += len(good) < keep
        refilled += len(fillers)
        assert all(math.isnan(score) and rank == 0 for _, score, rank in fillers)
        assert not {name for name, *_ in fillers} & {*before.negatives, *before.positives}
        assert (after.query, after.positives, after.positive_scores) == (
            before.query,
            before.positives,
            before.positive_scores,
        )
    counts = cleaned.manifest["counts"]
    found = {"denoised": dropped, "too_few": too_few, "refilled": refilled}
    assert counts == {"filled": 3, **found, "still_short": short}
    assert cleaned.manifest["denoise"] == settings.model_dump()
    assert cleaned.manifest["split"] == "train"
    assert cleaned.data_fingerprint == "d"


def test_by_hand(tmp_path: Path) -> None:
    lists = write_lists(
        tmp_path / "a",
        [
            TrainingList("all too good", ("p",), ("a", "b"), (1.0,), (5.0, 1.5), (1, 2)),
            TrainingList("one", ("q",), ("b", "c"), (1.0,), (5.0, 1.0), (1, 2)),
            TrainingList("none", ("r",), ("d", "p"), (1.0,), (0.0, -1.0), (1, 2)),
        ],
        data_fingerprint="d",
        about={},
    )
    first, second, third = denoise(
        lists, tmp_path / "b", DenoiseSettings(margin=0.0, keep_at_least=2, drop=True)
    )
    assert set(first.negatives) == {
        "c",
        "d",
    }  # neither its own a and b, which are too good, nor its positive p
    assert all(map(math.isnan, first.negative_scores))
    assert first.negative_ranks == (0, 0)
    assert second.negatives[0] == "c"
    assert second.negatives[1] in {"a", "d", "p"}
    assert second.negative_ranks == (2, 0)
    assert third == list(lists)[2]
    counts = Lists.open(tmp_path / "b").manifest["counts"]
    assert counts == {"denoised": 3, "too_few": 2, "refilled": 3, "still_short": 0}
    again = denoise(
        Lists.open(tmp_path / "b"), tmp_path / "c", DenoiseSettings(margin=0.0, keep_at_least=2, drop=True)
    )
    assert repr(list(again)) == repr(list(Lists.open(tmp_path / "b")))  # what has no score is within limits


def test_where_there_is_nothing_else_lists_stay_short_and_are_counted(tmp_path: Path) -> None:
    one = TrainingList("q", ("p",), ("a", "b"), (1.0,), (2.0, 0.0))
    lists = write_lists(tmp_path / "a", [one], data_fingerprint="d", about={})
    cleaned = denoise(lists, tmp_path / "b", DenoiseSettings(margin=0.0, keep_at_least=2, drop=True))
    assert list(cleaned) == [TrainingList("q", ("p",), ("b",), (1.0,), (0.0,))]
    assert cleaned.manifest["counts"] == {"denoised": 1, "too_few": 1, "refilled": 0, "still_short": 1}


def test_fillers_are_spread_and_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoise_module, "POOL", 50)
    all_lists = [
        TrainingList(f"q{n}", (f"p{n}",), (f"a{n}", f"b{n}"), (1.0,), (3.0, 0.0), (1, 2)) for n in range(200)
    ]
    lists = write_lists(tmp_path / "a", all_lists, data_fingerprint="d", about={})
    settings = DenoiseSettings(margin=0.0, keep_at_least=3, drop=True)
    found = [list(denoise(lists, tmp_path / name, settings)) for name in "bc"]
    assert repr(found[0]) == repr(found[1])
    fillers = [passage for one in found[0] for passage in one.negatives[1:]]
    assert len(fillers) == 400
    assert len(set(fillers)) >= 45  # of the 50 in the pool
    assert max(map(fillers.count, set(fillers))) < 40


def test_in_place_and_without_ranks(tmp_path: Path) -> None:
    one = TrainingList("q", ("p",), ("a", "b"), (1.0,), (2.0, 0.0))
    lists = write_lists(tmp_path / "a", [one], data_fingerprint="d", about={})
    cleaned = denoise(lists, tmp_path / "a", DenoiseSettings(margin=0.5, drop=True))
    assert list(cleaned) == [TrainingList("q", ("p",), ("b",), (1.0,), (0.0,))]
    assert cleaned.manifest["denoised_from"] == lists.fingerprint


def test_unscored_lists_are_refused(tmp_path: Path) -> None:
    lists = write_lists(tmp_path / "a", [TrainingList("q", ("p",), ("a",))], data_fingerprint="d", about={})
    with pytest.raises(DataError, match="carry no teacher's scores"):
        denoise(lists, tmp_path / "b", DenoiseSettings(margin=0.0))


def test_a_list_is_not_filled_with_the_question_itself(tmp_path):
    rows = [
        TrainingList("a", ("p",), ("x",), (1.0,), (2.0,)),
        TrainingList("b", ("p",), ("a", "y"), (1.0,), (0.0, 0.0)),
    ]
    lists = write_lists(tmp_path / "in", rows, data_fingerprint="d", about={})
    done = denoise(lists, tmp_path / "out", DenoiseSettings(margin=0, keep_at_least=3, drop=True))
    assert {one.query: set(one.negatives) for one in done} == {"a": {"y"}, "b": {"a", "y", "x"}}


def of_two_parts(query: str, negatives: tuple[float, ...]) -> TrainingList:
    """A list whose scores are its parts a and b: a alone but for the positive."""
    parts = {"a": (1.0, *negatives), "b": (0.5,) + (0.0,) * len(negatives)}
    names = tuple(f"n{place}" for place in range(len(negatives)))
    return TrainingList(query, ("p",), names, (1.5,), negatives, parts=parts)


def test_what_is_denoised_stays_for_the_teachers_terms(tmp_path: Path) -> None:
    before = [of_two_parts("q", (9.0, 1.0, 2.0)), of_two_parts("r", (0.0, 1.0, -1.0))]
    lists = write_lists(tmp_path / "a", before, data_fingerprint="d", about={})
    first, second = denoise(lists, tmp_path / "b", DenoiseSettings(margin=0.0))
    assert second == before[1]  # nothing to mark
    assert first.kept == (False, True, False)
    assert (first.negatives, first.negative_scores, first.parts) == (
        before[0].negatives,
        before[0].negative_scores,
        before[0].parts,
    )
    marked = Lists.open(tmp_path / "b")
    assert marked.manifest["counts"] == {"denoised": 2, "too_few": 0, "refilled": 0, "still_short": 0}
    sizes = marked.sizes()
    assert (sizes.shortest, sizes.negatives, sizes.denoised) == (1, 6, 2)
    assert marked.fingerprint != lists.fingerprint
    # Denoised again, what is marked stays so, and what is dropped takes its parts along.
    dropped, _ = denoise(marked, tmp_path / "c", DenoiseSettings(drop=True))
    assert (dropped.negatives, dropped.negative_scores, dropped.kept) == (("n1",), (1.0,), ())
    assert dropped.parts == {"a": (1.0, 1.0), "b": (0.5, 0.0)}


def test_only_contrastive_negatives_count_for_the_length(tmp_path: Path) -> None:
    rows = [of_two_parts("q", (9.0, 8.0, 1.0)), TrainingList("r", ("s",), ("x", "y"), (1.0,), (0.0, 0.0))]
    lists = write_lists(tmp_path / "a", rows, data_fingerprint="d", about={})
    first, _ = denoise(lists, tmp_path / "b", DenoiseSettings(margin=0.0, keep_at_least=2))
    assert first.negatives[:3] == ("n0", "n1", "n2")
    assert first.negatives[3] in {"x", "y"}
    assert first.kept == (False, False, True, True)
    assert math.isnan(first.negative_scores[3])
    assert all(math.isnan(scores[4]) for scores in first.parts.values())


def test_positives_without_a_score_set_no_limit(tmp_path: Path) -> None:
    rows = [TrainingList("q", ("p", "s"), ("a", "b"), (math.nan, 1.0), (2.0, 0.0))]
    rows.append(TrainingList("r", ("p",), ("a",), (math.nan,), (2.0,)))
    lists = write_lists(tmp_path / "a", rows, data_fingerprint="d", about={})
    first, second = denoise(lists, tmp_path / "b", DenoiseSettings(margin=0.0))
    assert (first.kept, second.kept) == ((False, True), ())
