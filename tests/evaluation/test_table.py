"""The table of results, and the same as JSON."""

import io
import json

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from ernie_search.errors import EvaluationError
from ernie_search.evaluation.comparison import SystemResult, compare
from ernie_search.evaluation.measures import Measured
from ernie_search.evaluation.table import results_json, results_table


def system(name: str, values: list[float], seconds: float | None = None) -> SystemResult:
    ids = tuple(f"q{i:02d}" for i in range(len(values)))
    return SystemResult(
        name, Measured(ids, {"MRR@10": np.array(values), "recall@1": np.round(values)}), seconds
    )


ROWS = [system("BM25", [0.5, 0.25, 1.0, 0.0] * 5), system("[late]", [1.0, 0.5, 1.0, 0.0] * 5, seconds=12.34)]
COLUMNS = ("MRR@10", "recall@1")


def shown(table: Table, width: int = 120) -> str:
    output = io.StringIO()
    Console(file=output, width=width, color_system=None).print(table)
    return output.getvalue()


def test_table_shows_means_and_intervals() -> None:
    text = shown(results_table(ROWS, COLUMNS, title="dev [20]"))
    low, high = ROWS[1].measured.interval("MRR@10")
    for part in (
        "dev [20]",
        "system",
        "MRR",
        "recall",
        "@10",
        "@1 ",
        "BM25",
        "[late]",
        "0.438",
        "0.625",
        "seconds",
        "12.3",
    ):
        assert part in text
    assert f"{low:.3f} {high:.3f}" in text


def test_no_column_without_content() -> None:
    text = shown(results_table(ROWS[:1], COLUMNS))
    assert "seconds" not in text
    assert "over" not in text


def test_comparison_with_a_baseline() -> None:
    text = shown(results_table(ROWS, COLUMNS, baseline="BM25"))
    assert "MRR@10 over BM25" in text
    assert "+0.188 p=" in text or "+0.188 p<" in text
    worse = shown(results_table(ROWS, COLUMNS, baseline="[late]"))
    assert "-0.188 p" in worse


@pytest.mark.parametrize("width", [100, 80])
def test_no_figure_is_cut_in_a_narrow_terminal(width: int) -> None:
    values = {
        name: np.linspace(0, 1, 20) for name in ("MRR@10", "nDCG@10", "recall@1", "recall@10", "recall@100")
    }
    measured = Measured(tuple(f"q{i:02d}" for i in range(20)), values)
    rows = [SystemResult("both losses, re-ranked", measured, 1.0), SystemResult("BM25", measured)]
    text = shown(results_table(rows, baseline="BM25"), width=width)
    assert "…" not in text
    assert text.count("0.500") == 10
    assert text.split().count("@10") == 3
    assert text.split().count("@100") == 1
    assert text.split().count("1.0") == 1  # the seconds
    assert text.count(f"{rows[0].measured.interval('MRR@10').high:.3f}") == 10


def test_json_has_the_same_figures() -> None:
    entries = json.loads(json.dumps(results_json(ROWS, baseline="BM25")))
    assert [entry["system"] for entry in entries] == ["BM25", "[late]"]
    assert [entry["seconds"] for entry in entries] == [None, 12.34]
    assert entries[0]["queries"] == 20
    assert entries[0]["versus"] is None
    low, high = ROWS[1].measured.interval("MRR@10")
    assert entries[1]["measures"]["MRR@10"] == {"mean": 0.625, "low": low, "high": high}
    found = compare(ROWS[1].measured, ROWS[0].measured, "recall@1")
    versus = entries[1]["versus"]["recall@1"]
    assert versus["baseline"] == "BM25"
    assert (versus["difference"], versus["p"], versus["wins"]) == (found.difference, found.p, found.wins)
    assert "versus" not in results_json(ROWS)[0]
    assert list(results_json(ROWS, ["recall@1"])[0]["measures"]) == ["recall@1"]


def test_bad_input_is_refused() -> None:
    with pytest.raises(EvaluationError, match="at least one system"):
        results_table([])
    with pytest.raises(EvaluationError, match="one measure"):
        results_json(ROWS, [])
    with pytest.raises(EvaluationError, match="same name"):
        results_table([ROWS[0], ROWS[0]], COLUMNS)
    with pytest.raises(
        EvaluationError, match=r"baseline 'BM52' is none of the systems; did you mean 'BM25'\?"
    ):
        results_table(ROWS, COLUMNS, baseline="BM52")
    with pytest.raises(EvaluationError, match="'nDCG@10' was not measured"):
        results_table(ROWS, ["nDCG@10"])
    with pytest.raises(EvaluationError, match="different questions"):
        results_table([ROWS[0], system("other", [1.0])], COLUMNS, baseline="BM25")
