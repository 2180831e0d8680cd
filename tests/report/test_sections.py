"""What the sections say: read from folders, and drawn."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from ernie_search.errors import DataError, StorageError
from ernie_search.report import (
    ablation_sections,
    examples_section,
    is_ablation,
    read_folder,
    scatter_section,
    split_of,
)
from ernie_search.report.chart import (
    Interval,
    Series,
    difference_chart,
    interval_chart,
    line_chart,
    nice_ticks,
    scatter_chart,
    short,
)
from ernie_search.report.comparison import spearman
from ernie_search.report.training import duration, label, plain, training_sections


def test_a_run_folder_is_read(run_folder: Path) -> None:
    stages = {one.name: one for one in read_folder(run_folder)}
    assert set(stages) == {"warm-up", "mine", "cascade"}
    warm = stages["warm-up"]
    assert (warm.done, warm.seconds, warm.best_step, warm.best_metric, warm.seed) == (
        True,
        4000.0,
        300,
        0.4,
        1,
    )
    assert warm.truncated == {"query": 0.0, "passage": 0.125}
    assert len(warm.curves["loss"]) == 400  # the half-written line is left out
    assert warm.curves["eval_dense_mrr"] == [(100, 0.1), (200, 0.2), (300, 0.3), (400, 0.4)]
    assert warm.inputs["collection"] == "abc123"
    assert (stages["mine"].kind, stages["mine"].peak_bytes) == ("mine", 2**30)
    assert not stages["cascade"].done
    page = "".join(section.body for section in training_sections(list(stages.values())))
    for words in ("1 h 06 min", "12.50 %", "1,024 MiB", "not recorded", "not finished", "abc123"):
        assert words in page


def test_a_single_run_folder_and_what_is_none(run_folder: Path, tmp_path: Path) -> None:
    assert [one.name for one in read_folder(run_folder / "warm-up")] == ["warm-up"]
    with pytest.raises(DataError, match="no such folder"):
        read_folder(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no training"):
        read_folder(tmp_path / "empty")
    (run_folder / "warm-up" / "training.json").write_text("[1]")
    with pytest.raises(DataError, match="not a JSON object"):
        read_folder(run_folder)


ODD = [None, True, 5, "x", [], [{}], {"a": [1]}, {"passage": "x"}]


@pytest.mark.parametrize("file", ["warm-up/training.json", "warm-up/result.json", "mine/stage.json"])
def test_values_of_another_type_are_left_out_or_shown_as_they_are(run_folder: Path, file: str) -> None:
    path = run_folder / file
    whole = json.loads(path.read_text())
    for key in whole:
        for odd in ODD:
            path.write_text(json.dumps(whole | {key: odd}))
            assert training_sections(read_folder(run_folder))


def test_an_ablation(ablation_folder: Path, run_folder: Path) -> None:
    assert is_ablation(ablation_folder)
    assert not is_ablation(run_folder)
    (section,), tiles = ablation_sections(ablation_folder)
    assert section.body.count('class="interval right"') == 1
    assert "interaction: +0.0300, +0.0100 to +0.0500" in section.body
    for words in ("0.5200", "0.510 to 0.530", "+0.030", "p &lt;0.001", "12 %", "cross-encoder 0.7500"):
        assert words in section.body
    assert tiles[0].value == "0.520"
    table = json.loads((ablation_folder / "table.json").read_text())
    table["ceiling"] |= {"cross": None, "cross_over_late": None}  # of a recipe without a teacher
    (ablation_folder / "table.json").write_text(json.dumps(table))
    ((section,), _) = ablation_sections(ablation_folder)
    assert "late interaction 0.7000, alone there 0.4900" in section.body
    (ablation_folder / "table.json").write_text('{"rows": [{"row": "x"}]}')
    with pytest.raises(DataError, match=r"table\.json: a row lacks"):
        ablation_sections(ablation_folder)
    (ablation_folder / "table.json").write_text("{")
    with pytest.raises(StorageError, match="not readable as JSON"):
        ablation_sections(ablation_folder)


def test_an_ablation_with_tests_by_cluster(ablation_folder: Path) -> None:
    table = json.loads((ablation_folder / "table.json").read_text())
    gain = table["rows"][1]["over_alone"] | {"p_holm": 0.02}
    test = {"by": "field:title", "clusters": 1234, "low": -0.01, "high": 0.07, "p": 0.2, "p_holm": 0.4}
    gain |= {"clustered": [test], "seeds": [{"seed": 0, "difference": 0.034}]}
    table["rows"][1]["over_alone"] = gain
    (ablation_folder / "table.json").write_text(json.dumps(table | {"tests": 7}))
    body = ablation_sections(ablation_folder)[0][0].body
    for words in (
        "interaction over alone",
        "field:title",
        "1,234",
        "-0.010 to +0.070",
        "0.400",
        "the 7 tests",
        "+0.034",
    ):
        assert words in body
    del test["p_holm"]
    (ablation_folder / "table.json").write_text(json.dumps(table | {"tests": 7}))
    with pytest.raises(DataError, match=r"table\.json: a row lacks 'p_holm'"):
        ablation_sections(ablation_folder)


def test_what_an_ablation_kept_is_drawn(ablation_folder: Path, run_folder: Path) -> None:
    """Recall of rows whose runs are there, curves of rows with a log, and the shared stages."""
    (ablation_folder / "shared").mkdir()
    (run_folder / "warm-up").rename(ablation_folder / "shared" / "warm-up")
    table = json.loads((ablation_folder / "table.json").read_text())
    table["rows"][1]["trained_as"] = "cascade"  # whose folder it shares
    (ablation_folder / "table.json").write_text(json.dumps(table))
    for row, rank in (("alone", 2), ("cascade", 1)):
        train = ablation_folder / "rows" / row / "seed-0" / "train"
        train.mkdir(parents=True)
        lines = [f'{{"step": {step}, "raw_dense": {step / 4}, "grad_norm": 1}}' for step in (1, 2)]
        (train / "log.jsonl").write_text("\n".join(lines))
        order = ["other", "hit"] if rank == 2 else ["hit", "other"]
        ranked = [f"q Q0 {one} {place} {-place} t" for place, one in enumerate(order, start=1)]
        (train.parent / "dev.trec").write_text("\n".join(ranked) + "\n")
    assert split_of(ablation_folder) == "dev"
    sections, _ = ablation_sections(ablation_folder, {"q": {"hit": 1}})
    titles = [one.title for one in sections]
    assert titles[:3] == ["Ablation", "Recall at k", "Training of the rows"]
    assert "Shared by all rows: stages" in titles
    rows = re.findall(r"<td>(\d+)</td><td class=\"n\">(.*?)</td><td class=\"n\">(.*?)</td>", sections[1].body)
    assert rows == [("1", "0.000", "1.000"), ("2", "1.000", "1.000")]
    assert sections[2].body.count("alone, 1: 0.25") == 1
    assert sections[2].body.count("interaction, 2: 0.5") == 1
    assert "Recall at k" not in [one.title for one in ablation_sections(ablation_folder)[0]]


def test_intervals_say_on_which_side_of_zero_they_lie() -> None:
    lines = [Interval("up", 0.2, 0.1, 0.3), Interval("a-name-that-is-too-long", -0.2, -0.3, -0.1)]
    chart = interval_chart([*lines, Interval("open", 0.0, -0.1, 0.1)], "gain", x_label="x")
    assert re.findall(r'class="interval (\w+)"', chart) == ["right", "left", "open"]
    zero = float(re.findall(r'x1="([\d.]+)"[^>]*class="axis"', chart)[0])
    places = [float(one) for one in re.findall(r'cx="([\d.]+)"', chart)]
    assert places[1] < zero < places[0]
    assert places[2] == zero
    assert "a-name-that-is-…" in chart
    assert interval_chart([], "gain", x_label="x") == ""
    assert "circle" in interval_chart([Interval("a", 1e-18, -1e-18, 2e-18)], "gain", x_label="x")


def test_examples_of_search_json(tmp_path: Path, examples_file: Path) -> None:
    body = examples_section(examples_file).body
    assert '<mark style="--v:1.00" title="0.900">Ada</mark>' in body
    assert body.count("<td") == 2 * 3 + 1
    assert ">.90</td>" in body  # a row's best cell has its value
    nearly = {"query_tokens": ["a"], "passage_tokens": ["b", "c"], "similarity": [[0.1, 0.9961]]}
    (tmp_path / "nearly.json").write_text(json.dumps([nearly]))
    assert '<td style="--v:1.00">1</td>' in examples_section(tmp_path / "nearly.json").body
    hits = {"query": "who?", "hits": [{"text": "x", "matches": []}]}
    (tmp_path / "hits.json").write_text(json.dumps(hits))
    assert "who?" in examples_section(tmp_path / "hits.json").body


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": 1}, "not a list of examples"),
        ([{"id": "x"}], "example 1 has neither"),
        (["x"], "example 1 has neither"),
        ([{"text": "x", "matches": [{"start": 0}]}], "example 1 has neither"),
        ([{"query_tokens": ["a"], "passage_tokens": ["b"], "similarity": [[0.1, 0.2]]}], "is not 1 x 1"),
    ],
)
def test_examples_of_another_form_are_refused(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / "x.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        examples_section(tmp_path / "x.json")


def test_scatter_says_how_alike_the_orders_are() -> None:
    student = {"q": {"a": 1.0, "b": 2.0, "c": 3.0}}
    body = scatter_section(
        "s", student, "t", {"q": {"a": 10.0, "b": 20.0, "c": 30.0, "d": 1.0}}, {"q": {"c": 1}}
    ).body
    assert "3 pairs, Spearman 1.000" in body
    assert body.count("<circle") == 3
    assert "judged relevant" in body
    assert "share no" in scatter_section("s", student, "t", {"r": {"a": 1.0}}, None).body
    flat = scatter_section("s", student, "t", {"q": {"a": 1.0, "b": 1.0, "c": 1.0}}, None).body
    assert "Spearman" not in flat


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.1, 0.42, [0.1, 0.2, 0.3, 0.4, 0.5]),
        (-3, 7, [-4, -2, 0, 2, 4, 6, 8]),
        (2, 2, [1.8, 1.9, 2.0, 2.1, 2.2]),
        (2, 2 + 1e-15, [1.8, 1.9, 2.0, 2.1, 2.2]),
        (-1e-18, 2e-18, [-1, -0.5, 0, 0.5, 1]),  # nothing but rounding
        (0, 2e-5, [0, 5e-6, 1e-5, 1.5e-5, 2e-5]),
    ],
)
def test_round_ticks(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


def test_texts_of_numbers() -> None:
    assert [short(one) for one in (0, 0.25, 1500, 2e-5, -0.5)] == ["0", "0.25", "1,500", "2e-5", "-0.5"]
    assert [duration(one) for one in (0.42, 42, 200, 7500)] == ["0.4 s", "42 s", "3 min 20 s", "2 h 05 min"]
    assert plain({"a": True, "b": None, "c": [1, 2.5]}) == "a yes, b none, c 1, 2.5"
    assert [label(one) for one in ("raw_dense", "eval_late_mrr", "teacher_entropy")] == [
        "dense",
        "late mrr",
        "late interaction",
    ]


def places(chart: str) -> list[tuple[float, float]]:
    found = re.search(r'<path d="M([^"Z]*)"', chart)
    assert found is not None
    return [tuple(map(float, one.split(","))) for one in found[1].split("L")]  # type: ignore[misc]


def test_a_curve_goes_from_left_to_right_and_up_is_more() -> None:
    chart = line_chart([Series("x", [(1, 0.0), (2, 1.0)])], "t", x_label="k")
    (left, low), (right, high) = places(chart)
    assert left < right
    assert low > high
    assert line_chart([Series("x", [])], "t", x_label="k") == ""
    assert line_chart([Series("x", [(3, 1.0)])], "t", x_label="k").count("<circle") == 1


def test_long_curves_are_thinned_and_keep_their_mean() -> None:
    points = [(float(step), float(step % 2)) for step in range(10_000)]
    assert len(places(line_chart([Series("x", points)], "t", x_label="step"))) == 300


def test_odd_values_are_left_out_of_charts() -> None:
    nan = float("nan")
    assert "nan" not in line_chart([Series("x", [(1, 1.0), (2, nan), (3, 2.0)])], "t", x_label="k")
    assert difference_chart([], "t") == scatter_chart([], "t", x_label="x", y_label="y") == ""
    assert "nan" not in difference_chart([0.0, 0.0], "t")


def test_spearman_equals_scipys_with_ties() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy, the reference, is not installed")
    first, second = np.random.default_rng(0).integers(0, 20, (2, 100)).astype(float)
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)
