"""Results and comparisons for people (tables) and for programs (plain values)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ernie_search._util.files import did_you_mean
from ernie_search._util.words import printable
from ernie_search.errors import EvaluationError
from ernie_search.evaluation.clusters import Clusters
from ernie_search.evaluation.comparison import (
    Clustered,
    Comparison,
    Pair,
    RunComparison,
    SystemResult,
    compare,
)
from ernie_search.evaluation.effects import Bucket, Effect

TABLE_MEASURES = ("MRR@10", "nDCG@10", "recall@1", "recall@10", "recall@100")
"""The columns unless others are asked for: with a comparison they need about 100 characters of width."""
SMALLEST_SHOWN_P = 0.001


def results_table(
    rows: Sequence[SystemResult],
    measures: Sequence[str] = TABLE_MEASURES,
    *,
    baseline: str | None = None,
    title: str | None = None,
    clusters: Sequence[Clusters] = (),
) -> Table:
    """A table with one row per system: mean, and under it the 95 % bootstrap interval, of each measure.

    Args:
        rows: the systems, in the order to show.
        measures: the columns.
        baseline: name of a row; adds a column with each other row's difference to it in the first of
            ``measures``, the interval of the difference and the p of the paired randomisation test.
        title: above the table.
        clusters: groupings of the questions; with a baseline, each adds interval and p by cluster.

    Raises:
        EvaluationError: no row, a measure that a row lacks, an unknown baseline, or one that was
            measured on other questions.
    """
    _check(rows, measures)
    versus = _comparisons(rows, measures[0], baseline, clusters)
    timed = any(row.seconds is not None for row in rows)
    table = _table("under each mean: its 95 % bootstrap interval", title)
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
    rows: Sequence[SystemResult],
    measures: Sequence[str] | None = None,
    *,
    baseline: str | None = None,
    clusters: Sequence[Clusters] = (),
) -> list[dict[str, Any]]:
    """The figures of ``results_table`` as plain values, unrounded; ``measures`` None: all that were measured.

    Each entry: ``system``, ``queries``, ``missing``, ``unjudged``, ``seconds``, ``measures`` (name -> mean,
    low, high) and, given a baseline, ``versus`` (measure -> baseline, difference, low, high, p, wins,
    losses, ties, and with ``clusters`` also ``clustered``; None for the baseline itself).

    Raises:
        EvaluationError: as ``results_table``.
    """
    _check(rows, measures)
    names = list(rows[0].measured.values) if measures is None else list(measures)
    versus = {name: _comparisons(rows, name, baseline, clusters) for name in names}
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
                entry["versus"] = {
                    name: {"baseline": baseline, **_figures(versus[name][row.name])} for name in names
                }
        entries.append(entry)
    return entries


def pairs_table(pairs: Sequence[Pair]) -> Table:
    """One row per pair and measure: difference with its interval, p before and after the correction."""
    table = _table(
        "95 % bootstrap intervals; p of the paired randomisation test, alone and after Holm's "
        "correction over the pairs of a measure"
    )
    _columns(
        table,
        ("run", "over", "measure"),
        ("difference", "interval", "p", "p (Holm)", "won", "lost", "equal"),
    )
    for pair in pairs:
        found = pair.found
        table.add_row(
            Text(printable(pair.name, one_line=True)),
            Text(printable(pair.over, one_line=True)),
            found.measure,
            f"{found.difference:+.3f}",
            Text(f"{found.low:+.3f} {found.high:+.3f}", style="dim"),
            shown_p(found.p),
            shown_p(pair.p_holm),
            f"{found.wins:,}",
            f"{found.losses:,}",
            f"{found.ties:,}",
        )
    return table


def clustered_table(pairs: Sequence[Pair]) -> Table:
    """One row per pair, measure and grouping of the questions: interval and p by cluster."""
    table = _table(
        "by cluster: 95 % cluster bootstrap intervals; p of the cluster randomisation test, alone and after "
        "Holm's correction over the pairs of a measure"
    )
    names = ("run", "over", "measure", "by")
    _columns(table, names, ("clusters", "difference", "interval", "p", "p (Holm)"))
    for pair in pairs:
        for one in pair.found.clustered:
            table.add_row(
                Text(printable(pair.name, one_line=True)),
                Text(printable(pair.over, one_line=True)),
                pair.found.measure,
                Text(printable(one.by, one_line=True)),
                f"{one.clusters:,}",
                f"{pair.found.difference:+.3f}",
                Text(f"{one.low:+.3f} {one.high:+.3f}", style="dim"),
                shown_p(one.p),
                shown_p(one.p if one.p_holm is None else one.p_holm),
            )
    return table


def effects_table(found: Sequence[Effect], texts: Mapping[str, str]) -> Table:
    """Questions with their texts: the measure in both runs, and where the first relevant passage stood."""
    table = _table()
    table.add_column("question", overflow="fold", ratio=1)
    for name in ("before", "now", "rank"):
        table.add_column(name, justify="right", no_wrap=True)
    for effect in found:
        ranks = f"{shown_rank(effect.other_rank)} > {shown_rank(effect.rank)}"
        text = Text(printable(texts.get(effect.query, effect.query), one_line=True))
        table.add_row(text, f"{effect.other:.3f}", f"{effect.value:.3f}", ranks)
    return table


def buckets_table(buckets: Sequence[Bucket]) -> Table:
    """One row per kind of question."""
    table = _table()
    _columns(table, ("questions",), ("number", "before", "now", "difference", "interval", "won", "lost"))
    for one in buckets:
        table.add_row(
            one.label,
            f"{one.questions:,}",
            f"{one.other:.3f}",
            f"{one.value:.3f}",
            f"{one.difference:+.3f}",
            Text(f"{one.low:+.3f} {one.high:+.3f}", style="dim"),
            f"{one.wins:,}",
            f"{one.losses:,}",
        )
    return table


def comparison_json(found: RunComparison) -> dict[str, Any]:
    """Plain values, unrounded: ``questions``, ``systems`` (as ``results_json``), ``pairs``."""
    return {
        "questions": {
            "compared": len(found.questions.ids),
            "judged": found.questions.of,
            "left_out": found.questions.left_out,
        },
        "systems": results_json(found.systems, found.measures),
        "pairs": [
            {
                "system": pair.name,
                "over": pair.over,
                "measure": pair.found.measure,
                **_figures(pair.found),
                "p_holm": pair.p_holm,
            }
            for pair in found.pairs
        ],
    }


def effects_json(found: Sequence[Effect], texts: Mapping[str, str]) -> list[dict[str, Any]]:
    """Questions as plain values."""
    return [
        {**asdict(effect), "text": texts.get(effect.query), "difference": effect.difference}
        for effect in found
    ]


def buckets_json(buckets: Sequence[Bucket]) -> list[dict[str, Any]]:
    """Kinds of questions as plain values."""
    return [{**asdict(one), "difference": one.difference} for one in buckets]


def shown_p(p: float) -> str:
    """A p value as text: ``0.012``, or ``<0.001``."""
    return f"<{SMALLEST_SHOWN_P}" if p < SMALLEST_SHOWN_P else f"{p:.3f}"


def shown_rank(rank: int | None) -> str:
    """A rank as text, or a dash where nothing was found."""
    return "-" if rank is None else f"{rank:,}"


def _check(rows: Sequence[SystemResult], measures: Sequence[str] | None) -> None:
    names = [row.name for row in rows]
    if not names or (measures is not None and not measures):
        raise EvaluationError("a table of results needs at least one system and one measure")
    if len(set(names)) < len(names):
        raise EvaluationError(f"two systems have the same name in {', '.join(names)}; rename one")


def _comparisons(
    rows: Sequence[SystemResult], measure: str, baseline: str | None, clusters: Sequence[Clusters]
) -> dict[str, Comparison]:
    """Each row but the baseline, by name, against the baseline."""
    if baseline is None:
        return {}
    by_name = {row.name: row.measured for row in rows}
    if baseline not in by_name:
        raise EvaluationError(
            f"baseline {baseline!r} is none of the systems{did_you_mean(baseline, list(by_name))}"
        )
    return {
        name: compare(measured, by_name[baseline], measure, clusters=clusters)
        for name, measured in by_name.items()
        if name != baseline
    }


def _two_lines(upper: str, lower: str) -> Text:
    """A figure and its interval, whose ends a narrow terminal can set under each other."""
    return Text.assemble(upper, "\n", (lower, "dim"))


def _versus_cell(found: Comparison | None) -> Text:
    if found is None:
        return Text("-")
    upper, lower = f"{found.difference:+.3f} {_p(found.p)}", f"{found.low:+.3f} {found.high:+.3f}"
    cell = _two_lines(upper, lower)
    for one in found.clustered:
        cell.append(f"\n{one.clusters:,} by {one.by} {_p(one.p)}\n")
        cell.append(f"{one.low:+.3f} {one.high:+.3f}", style="dim")
    return cell


def _p(p: float) -> str:
    shown = shown_p(p)
    return f"p{'' if shown.startswith('<') else '='}{shown}"


def _figures(found: Comparison) -> dict[str, Any]:
    """A comparison's figures by name, the measure's own left out, and cluster tests where there are none."""
    values = {name: value for name, value in asdict(found).items() if name not in ("measure", "clustered")}
    if found.clustered:
        values["clustered"] = [_cluster_figures(one) for one in found.clustered]
    return values


def _cluster_figures(found: Clustered) -> dict[str, Any]:
    """A cluster test's figures; ``p_holm`` where it is one of a family."""
    return {name: value for name, value in asdict(found).items() if value is not None}


def _columns(table: Table, texts: Sequence[str], figures: Sequence[str]) -> None:
    for name in texts:
        table.add_column(name, overflow="fold")
    for name in figures:
        table.add_column(name, justify="right")


def _table(caption: str | None = None, title: str | None = None) -> Table:
    return Table(
        title=Text(printable(title)) if title else None,
        caption=Text(caption) if caption else None,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
