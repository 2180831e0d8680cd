"""A comparison for people (tables) and for programs (plain values)."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from ernie_search._util.words import printable
from ernie_search.evaluation.comparison import Pair, RunComparison
from ernie_search.evaluation.effects import Bucket, Effect
from ernie_search.evaluation.table import SMALLEST_SHOWN_P, results_json


def pairs_table(pairs: Sequence[Pair]) -> Table:
    """A row a pair and measure: difference with its interval, p before and after the correction."""
    table = _table(
        "95 % bootstrap intervals; p of the paired randomisation test, alone and after Holm's "
        "correction over the pairs of a measure"
    )
    for name in ("run", "over", "measure"):
        table.add_column(name, overflow="fold")
    for name in ("difference", "interval", "p", "p (Holm)", "won", "lost", "equal"):
        table.add_column(name, justify="right")
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
    """A row a kind of question."""
    table = _table()
    table.add_column("questions")
    for name in ("number", "before", "now", "difference", "interval", "won", "lost"):
        table.add_column(name, justify="right")
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
                "difference": pair.found.difference,
                "low": pair.found.low,
                "high": pair.found.high,
                "p": pair.found.p,
                "p_holm": pair.p_holm,
                "wins": pair.found.wins,
                "losses": pair.found.losses,
                "ties": pair.found.ties,
            }
            for pair in found.pairs
        ],
    }


def effects_json(found: Sequence[Effect], texts: Mapping[str, str]) -> list[dict[str, Any]]:
    """Questions as plain values."""
    return [
        {
            "query": effect.query,
            "text": texts.get(effect.query),
            "value": effect.value,
            "other": effect.other,
            "difference": effect.difference,
            "rank": effect.rank,
            "other_rank": effect.other_rank,
        }
        for effect in found
    ]


def buckets_json(buckets: Sequence[Bucket]) -> list[dict[str, Any]]:
    """Kinds of questions as plain values."""
    return [
        {
            "label": one.label,
            "questions": one.questions,
            "value": one.value,
            "other": one.other,
            "difference": one.difference,
            "low": one.low,
            "high": one.high,
            "wins": one.wins,
            "losses": one.losses,
        }
        for one in buckets
    ]


def shown_p(p: float) -> str:
    """``0.012``, or ``<0.001``."""
    return f"<{SMALLEST_SHOWN_P}" if p < SMALLEST_SHOWN_P else f"{p:.3f}"


def shown_rank(rank: int | None) -> str:
    """The rank, or a dash where nothing was found."""
    return "-" if rank is None else f"{rank:,}"


def _table(caption: str | None = None) -> Table:
    return Table(
        caption=Text(caption) if caption else None,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
