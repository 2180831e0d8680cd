"""Results side by side: a table for people, and the same figures as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ernie_search._util.files import did_you_mean
from ernie_search._util.words import printable
from ernie_search.errors import EvaluationError
from ernie_search.evaluation.measures import Measured
from ernie_search.evaluation.significance import Comparison, compare

TABLE_MEASURES = ("MRR@10", "nDCG@10", "recall@1", "recall@10", "recall@100")
"""The columns unless others are asked for: with a comparison they need about 100 characters of width."""
SMALLEST_SHOWN_P = 0.001


@dataclass(frozen=True, slots=True)
class SystemResult:
    """One row: a system's name, what was measured of it, and its seconds of search (None: not timed)."""

    name: str
    measured: Measured
    seconds: float | None = None


def results_table(
    rows: Sequence[SystemResult],
    measures: Sequence[str] = TABLE_MEASURES,
    *,
    baseline: str | None = None,
    title: str | None = None,
) -> Table:
    """A table with a row a system: mean, and under it the 95 % bootstrap interval, of each measure.

    Args:
        rows: the systems, in the order to show.
        measures: the columns.
        baseline: name of a row; adds a column with each other row's difference to it in the first of
            ``measures``, the interval of the difference and the p of the paired randomisation test.
        title: above the table.

    Raises:
        EvaluationError: no row, a measure that a row lacks, an unknown baseline, or one that was
            measured on other questions.
    """
    _check(rows, measures)
    versus = _comparisons(rows, measures[0], baseline)
    timed = any(row.seconds is not None for row in rows)
    table = Table(
        title=Text(printable(title)) if title else None,
        caption=Text("under each mean: its 95 % bootstrap interval"),
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("system", overflow="fold")
    for name in measures:
        # broken here, or a narrow terminal breaks "recall@10" into "recall@1" and "0"
        table.add_column(Text(name.replace("@", "\n@")), justify="right", overflow="fold")
    if baseline is not None:
        table.add_column(Text(f"{measures[0]} over {baseline}"), justify="right", overflow="fold")
    if timed:
        table.add_column("seconds", justify="right", overflow="fold")
    for row in rows:
        # Text, not str: rich would read "[0.71, 0.75]", or a system's name in brackets, as markup
        cells = [Text(printable(row.name, one_line=True))]
        for name in measures:
            low, high = row.measured.interval(name)
            cells.append(_two_lines(f"{row.measured.mean(name):.3f}", f"{low:.3f} {high:.3f}"))
        if baseline is not None:
            cells.append(_versus_cell(versus.get(row.name)))
        if timed:
            cells.append(Text("" if row.seconds is None else f"{row.seconds:.1f}"))
        table.add_row(*cells)
    return table


def results_json(
    rows: Sequence[SystemResult], measures: Sequence[str] | None = None, *, baseline: str | None = None
) -> list[dict[str, Any]]:
    """The figures of ``results_table`` as plain values, unrounded; ``measures`` None: all that were measured.

    Each entry: ``system``, ``queries``, ``missing``, ``unjudged``, ``seconds``, ``measures`` (name -> mean,
    low, high) and, given a baseline, ``versus`` (measure -> baseline, difference, low, high, p, wins,
    losses, ties; None for the baseline itself).

    Raises:
        EvaluationError: as ``results_table``.
    """
    _check(rows, measures)
    names = list(rows[0].measured.values) if measures is None else list(measures)
    versus = {name: _comparisons(rows, name, baseline) for name in names}
    entries: list[dict[str, Any]] = []
    for row in rows:
        entry: dict[str, Any] = {
            "system": row.name,
            "queries": len(row.measured.query_ids),
            "missing": row.measured.missing,
            "unjudged": row.measured.unjudged,
            "seconds": row.seconds,
            "measures": {},
        }
        for name in names:
            low, high = row.measured.interval(name)
            entry["measures"][name] = {"mean": row.measured.mean(name), "low": low, "high": high}
        if baseline is not None:
            entry["versus"] = None
            if row.name != baseline:
                entry["versus"] = {name: _versus_json(versus[name][row.name], baseline) for name in names}
        entries.append(entry)
    return entries


def _check(rows: Sequence[SystemResult], measures: Sequence[str] | None) -> None:
    names = [row.name for row in rows]
    if not names or (measures is not None and not measures):
        raise EvaluationError("a table of results needs at least one system and one measure")
    if len(set(names)) < len(names):
        raise EvaluationError(f"two systems have the same name in {', '.join(names)}; rename one")


def _comparisons(rows: Sequence[SystemResult], measure: str, baseline: str | None) -> dict[str, Comparison]:
    """Each row but the baseline, by name, against the baseline."""
    if baseline is None:
        return {}
    by_name = {row.name: row.measured for row in rows}
    if baseline not in by_name:
        raise EvaluationError(
            f"baseline {baseline!r} is none of the systems{did_you_mean(baseline, list(by_name))}"
        )
    return {
        name: compare(measured, by_name[baseline], measure)
        for name, measured in by_name.items()
        if name != baseline
    }


def _two_lines(upper: str, lower: str) -> Text:
    """A figure and its interval, whose ends a narrow terminal can set under each other."""
    return Text.assemble(upper, "\n", (lower, "dim"))


def _versus_cell(found: Comparison | None) -> Text:
    if found is None:
        return Text("-")
    p = f"p<{SMALLEST_SHOWN_P}" if found.p < SMALLEST_SHOWN_P else f"p={found.p:.3f}"
    return _two_lines(f"{found.difference:+.3f} {p}", f"{found.low:+.3f} {found.high:+.3f}")


def _versus_json(found: Comparison, baseline: str) -> dict[str, Any]:
    return {
        "baseline": baseline,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "wins": found.wins,
        "losses": found.losses,
        "ties": found.ties,
    }
