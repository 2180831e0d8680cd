"""The figures of a table by hand: means over seeds, paired differences, and when a gap means anything."""

import numpy as np
import pytest

import ernie_search.ablation.table as table_module
from ernie_search.ablation.table import RowResult, ceiling, figures, markdown, over
from ernie_search.evaluation import (
    Clusters,
    Measured,
    bootstrap_interval,
    holm,
    randomisation_test,
)

ABOUT = {"recipe": "r", "base": "b", "layers": 3, "split": "dev", "steps": 5}


def measured(*values: float, first: int = 0) -> Measured:
    ids = tuple(f"q{place + first}" for place in range(len(values)))
    row = np.array(values)
    return Measured(ids, {"MRR@10": row, "recall@50": np.ceil(row)})


def row(name: str, *seeds: Measured, seconds: float = 2.0) -> RowResult:
    each = dict(enumerate(seeds))
    return RowResult(name, f"what {name} is", dict(each), dict.fromkeys(each, seconds))


def rows(late: float = 0.8, cross: float = 0.9) -> dict[str, RowResult]:
    found = [
        row("alone", measured(0.5, 0.25, 0.5, 0.25), measured(0.25, 0.5, 0.25, 0.5)),
        row("both", measured(0.5, 0.5, 0.5, 0.5), measured(0.5, 0.5, 0.5, 0.5)),
        row("full", measured(1.0, 0.5, 1.0, 0.5), measured(0.5, 1.0, 0.5, 1.0)),
        row("ceiling-late", measured(late, late), measured(late, late)),
        row("ceiling-cross", measured(cross, cross), measured(cross, cross)),
    ]
    return {one.name: one for one in found}


def test_differences_are_paired_by_question_and_averaged_over_seeds() -> None:
    all_rows = rows()
    found = over(all_rows["full"], all_rows["alone"])
    assert found is not None
    each = np.array([[0.5, 0.25, 0.5, 0.25], [0.25, 0.5, 0.25, 0.5]])
    assert found["difference"] == pytest.approx(each.mean())
    assert found["p"] == randomisation_test(each.mean(axis=0))
    assert [one["difference"] for one in found["seeds"]] == pytest.approx([0.375, 0.375])


def test_a_row_without_seeds_is_compared_with_each_seed() -> None:
    bm25 = RowResult("bm25", "", {None: measured(0.5, 0.5, 0.5, 0.5)})
    found = over(bm25, rows()["alone"])
    assert found is not None
    assert [one["seed"] for one in found["seeds"]] == [0, 1]
    assert found["difference"] == pytest.approx(0.125)
    assert over(row("one", measured(1.0)), RowResult("none", "")) is None


def test_a_ceiling_over_fewer_questions_is_compared_on_those() -> None:
    all_rows = rows()
    found = over(all_rows["ceiling-late"], all_rows["alone"])
    assert found is not None
    assert found["difference"] == pytest.approx(0.8 - 0.375)


def test_the_gap_closed_is_over_the_better_ceiling_on_its_questions() -> None:
    table = figures(rows(), ABOUT)
    by_name = {one["row"]: one for one in table["rows"]}
    assert table["ceiling"]["valid"]
    assert table["ceiling"]["questions"] == 2
    better = table["ceiling"]["cross_over_late"]
    assert better["difference"] == pytest.approx(0.1)
    assert better["p"] == randomisation_test(np.array([0.1, 0.1]))
    assert "The cross-encoder over late interaction: +0.1000, p" in markdown(table)
    assert by_name["full"]["gap_closed"] == pytest.approx((0.75 - 0.375) / (0.9 - 0.375))
    assert by_name["both"]["gap_closed"] == pytest.approx((0.5 - 0.375) / (0.9 - 0.375))
    assert [by_name[name]["gap_closed"] for name in ("alone", "ceiling-late", "ceiling-cross")] == [None] * 3


def test_the_gap_closed_is_over_the_seeds_that_all_have() -> None:
    found = rows()
    found["full"] = RowResult("full", "", {1: measured(0.5, 1.0, 0.5, 1.0)}, {1: 2.0})
    del found["ceiling-cross"].measured[0]
    found["other"] = RowResult("other", "", {0: measured(1.0, 1.0, 1.0, 1.0)}, {0: 2.0})
    by_name = {one["row"]: one for one in figures(found, ABOUT)["rows"]}
    assert by_name["full"]["gap_closed"] == pytest.approx((0.75 - 0.375) / (0.9 - 0.375))
    assert by_name["other"]["gap_closed"] is None


def test_what_was_changed_for_a_row_is_said() -> None:
    lines = markdown(figures(rows(), ABOUT | {"changed": {"full": {"late_weight": 2}}})).splitlines()
    assert lines[1] == "row full with late_weight 2"


@pytest.mark.parametrize(
    ("late", "cross", "why"),
    [
        (0.9, 0.8, "the cross-encoder ranks worse than late interaction (0.800 to 0.900)"),
        (0.4, 0.42, "the ceiling (0.420) is less than 0.05 above alone (0.375)"),
    ],
)
def test_a_gap_that_means_nothing_is_not_given_and_why(late: float, cross: float, why: str) -> None:
    table = figures(rows(late, cross), ABOUT)
    assert all(one["gap_closed"] is None for one in table["rows"])
    assert table["ceiling"]["why"] == why
    assert f"No gap closed is given: {why}." in markdown(table)
    assert ceiling({})["why"] == "row ceiling-late was not run"


def test_the_markdown_has_a_line_a_row_and_says_what_it_is_of() -> None:
    all_rows = rows() | {"empty": RowResult("empty", "")}
    lines = markdown(figures(all_rows, ABOUT)).splitlines()
    assert lines[0] == "r, split dev, 5 steps a row, base b cut to 3 layers"
    body = [line for line in lines[: lines.index("", 3)] if line.startswith("| ")][1:]
    assert [line.split(":")[0] for line in body] == [f"| {name}" for name in rows()]
    assert body[0] == "| alone: what alone is | 0.3750 | 1.0000 |  | 2 |  |  | -0.1250 | 0.125 | 0, 1 |"


def test_gains_have_tests_by_cluster_and_holm_over_the_table() -> None:
    clusters = [
        Clusters("passage", {"q0": "q0", "q1": "q0", "q2": "q2", "q3": "q3"}),
        Clusters("field:title", {"q0": "q0", "q1": "q0", "q2": "q2", "q3": "q2"}),
    ]
    table = figures(rows(), ABOUT, {"both": ["ceiling-late"]}, clusters)
    by_name = {one["row"]: one for one in table["rows"]}
    gain = by_name["full"]["over_alone"]
    assert gain["clustered"][0]["clusters"] == 3
    mean, labels = np.array([0.375, 0.375, 0.375, 0.375]), ["a", "a", "b", "c"]
    assert gain["clustered"][0]["p"] == randomisation_test(mean, clusters=labels)
    low, high = bootstrap_interval(mean, clusters=labels)
    assert (gain["clustered"][0]["low"], gain["clustered"][0]["high"]) == (low, high)
    first = np.array([0.5, 0.25, 0.5, 0.25])
    assert gain["seeds"][0]["clustered"][1]["p"] == randomisation_test(first, clusters=["a", "a", "b", "b"])
    # the ceilings' two questions have one title, and one passage: nothing is said of clusters there
    assert by_name["ceiling-late"]["over_alone"]["clustered"] == []
    assert by_name["full"]["over"]["alone"] is gain  # one pair is one test
    found = [  # alone over both is both over alone, and one question
        *(by_name[name]["over_alone"] for name in by_name if name != "alone"),
        *(by_name[name]["over_both"] for name in by_name if name not in ("both", "alone")),
        table["ceiling"]["cross_over_late"],
    ]
    assert by_name["alone"]["over_both"]["p_holm"] == by_name["both"]["over_alone"]["p_holm"]
    assert by_name["both"]["over"]["ceiling-late"]["p_holm"] == by_name["ceiling-late"]["over_both"]["p_holm"]
    assert table["tests"] == len(found)
    assert sorted(one["p_holm"] for one in found) == sorted(holm([one["p"] for one in found]))
    tests = [one["clustered"][1] for one in found if one["clustered"]]
    assert sorted(one["p_holm"] for one in tests) == sorted(holm([one["p"] for one in tests]))
    text = markdown(table)
    assert "| pair | MRR@10 | 95 % | p | Holm | clusters by passage | 95 %" in text
    assert "| full over alone | +0.3750 |" in text
    assert f"over the {len(found)} tests of a kind" in text


def test_the_gap_closed_is_counted_from_the_row_that_the_table_names() -> None:
    found = rows() | {"alone-throughout": row("alone-throughout", *[measured(0.25, 0.25, 0.25, 0.25)] * 2)}
    table = figures(found, ABOUT | {"start": "alone-throughout", "lists_of_seed": 7})
    by_name = {one["row"]: one for one in table["rows"]}
    assert table["ceiling"]["from"] == "alone-throughout"
    assert by_name["full"]["gap_closed"] == pytest.approx((0.75 - 0.25) / (0.9 - 0.25))
    assert by_name["alone"]["gap_closed"] == pytest.approx((0.375 - 0.25) / (0.9 - 0.25))
    assert by_name["alone-throughout"]["gap_closed"] is None
    text = markdown(table)
    assert "alone-throughout there 0.2500, from which the gap closed is counted" in text
    assert "lists are mined, and scored, once: with the shared warm-up of seed 7" in text


def test_a_pair_is_tested_again_only_when_its_measures_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    tested: list[tuple[str, str]] = []

    def counted(one: RowResult, peer: RowResult, clusters: object = ()) -> object:
        tested.append((one.name, peer.name))
        return over(one, peer)

    monkeypatch.setattr(table_module, "over", counted)
    found, known = rows(), {}
    first = figures(found, ABOUT, known=known)
    assert len(tested) == len(set(tested))
    assert len({frozenset(pair) for pair in tested}) == first["tests"]
    tested.clear()
    assert figures(found, ABOUT, known=known) == first
    assert tested == []
    found["both"].add(1, measured(0.5, 0.5, 0.5, 0.5), 2.0)
    figures(found, ABOUT, known=known)
    assert {"both" in pair for pair in tested} == {True}


def test_rows_of_one_training_are_one_question() -> None:
    """As *full* and *interaction* of a recipe without a teacher."""
    plain = {name: one for name, one in rows().items() if name in ("alone", "both", "full")}
    twin = RowResult("interaction", "the same", trained_as="full")
    for seed, one in plain["full"].measured.items():
        twin.add(seed, one, 1.0)
    peers = {"full": ["interaction"], "interaction": ["alone"]}
    table = figures(plain | {"interaction": twin}, ABOUT, peers)
    without = figures(plain, ABOUT)
    assert table["tests"] == without["tests"] == 3
    by_name, before = ({one["row"]: one for one in found["rows"]} for found in (table, without))
    for key in ("over_alone", "over_both"):
        assert by_name["full"][key]["p_holm"] == before["full"][key]["p_holm"]
        assert by_name["interaction"][key]["p_holm"] == before["full"][key]["p_holm"]
    assert by_name["full"]["over"]["interaction"]["p_holm"] == 1
