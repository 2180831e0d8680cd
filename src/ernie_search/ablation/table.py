"""An ablation's figures: means over seeds, differences with paired p, gap closed; as Markdown and JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ernie_search.evaluation import Measured, bootstrap_interval, randomisation_test

MAIN, SECOND = "MRR@10", "recall@50"
ALONE, BOTH, FULL = "alone", "both", "full"
LATE, CROSS = "ceiling-late", "ceiling-cross"
SMALLEST_GAP = 0.05
"""The least ceiling over *alone* for which a gap is given (docs/method.md, "Baselines and gap closed")."""
SMALLEST_SHOWN_P = 0.001


@dataclass(slots=True)
class RowResult:
    """Measures of one row.

    Attributes:
        name, what: name and description of the row.
        measured: by seed; a row without seeds has the one ``None``.
        seconds: of training, by seed.
        trained_as: the row whose training, and folder, it shares.
    """

    name: str
    what: str
    measured: dict[int | None, Measured] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    trained_as: str | None = None

    def add(self, seed: int | None, measured: Measured, seconds: float | None) -> None:
        """Add one seed's measures, and the ``seconds`` of its training, where it has one."""
        self.measured[seed] = measured
        if seed is not None and seconds is not None:
            self.seconds[seed] = seconds

    def mean(self, measure: str, queries: Sequence[str] | None = None) -> float:
        """Mean over questions (all, or those named) and seeds."""
        return float(np.mean([_values(one, measure, queries).mean() for one in self.measured.values()]))


def _values(measured: Measured, measure: str, queries: Sequence[str] | None) -> NDArray[np.float64]:
    values = measured.of(measure)
    if queries is None:
        return values
    places = {query: place for place, query in enumerate(measured.query_ids)}
    return values[[places[query] for query in queries]]


def over(row: RowResult, peer: RowResult) -> dict[str, Any] | None:
    """The row's gain over another in MRR@10, question by question, averaged over the seeds that both have.

    A row without seeds is compared with each seed of the other. The interval and the p of the paired
    randomisation test are over questions.
    """
    seeds = sorted({seed for one in (row, peer) for seed in one.measured if seed is not None})
    each: dict[int | None, NDArray[np.float64]] = {}
    wanted: list[int | None] = [*seeds] or [None]
    for seed in wanted:
        ours, theirs = (one.measured.get(seed, one.measured.get(None)) for one in (row, peer))
        if ours is None or theirs is None:
            continue
        shared = sorted(set(ours.query_ids) & set(theirs.query_ids))
        each[seed] = _values(ours, MAIN, shared) - _values(theirs, MAIN, shared)
    if not each:
        return None
    mean = np.mean(list(each.values()), axis=0)
    low, high = bootstrap_interval(mean)
    return {
        "difference": float(mean.mean()),
        "low": low,
        "high": high,
        "p": randomisation_test(mean),
        "seeds": [
            {"seed": seed, "difference": float(one.mean()), "p": randomisation_test(one)}
            for seed, one in each.items()
        ],
    }


def ceiling(rows: Mapping[str, RowResult]) -> dict[str, Any]:
    """The better ceiling over the ceilings' questions, and whether a gap to it means anything.

    Returns:
        ``valid``, and ``why`` not; ``questions`` (ids); means of ``late``, ``cross``, ``alone``; ``value``;
        ``cross_over_late``, whether the teacher really ranks better than what it teaches: see :func:`over`.
    """
    missing = [name for name in (LATE, CROSS, ALONE) if not (name in rows and rows[name].measured)]
    if missing:
        return {"valid": False, "why": f"row {missing[0]} was not run"}
    questions = list(next(iter(rows[LATE].measured.values())).query_ids)
    late, cross, alone = (rows[name].mean(MAIN, questions) for name in (LATE, CROSS, ALONE))
    value = max(late, cross)
    found: dict[str, Any] = {"questions": questions, "late": late, "cross": cross, "alone": alone}
    found |= {"value": value, "cross_over_late": over(rows[CROSS], rows[LATE])}
    if cross < late:
        why = f"the cross-encoder ranks worse than late interaction ({cross:.3f} to {late:.3f})"
    elif value - alone < SMALLEST_GAP:
        why = f"the ceiling ({value:.3f}) is less than {SMALLEST_GAP} above alone ({alone:.3f})"
    else:
        return {"valid": True, "why": "", **found}
    return {"valid": False, "why": why, **found}


def _gap_closed(row: RowResult, rows: Mapping[str, RowResult], top: Mapping[str, Any]) -> float | None:
    """Share of the gap between *alone* and the better ceiling, over the seeds that all three have."""
    better = rows[CROSS if top["cross"] >= top["late"] else LATE]
    seeds = set(rows[ALONE].measured) & set(better.measured)
    seeds = seeds if None in row.measured else seeds & set(row.measured)
    if not seeds:
        return None

    def mean(one: RowResult) -> float:
        each = [one.measured.get(seed, one.measured.get(None)) for seed in seeds]
        return float(np.mean([_values(it, MAIN, top["questions"]).mean() for it in each if it is not None]))

    alone = mean(rows[ALONE])
    return (mean(row) - alone) / (mean(better) - alone)


def figures(rows: Mapping[str, RowResult], about: Mapping[str, Any]) -> dict[str, Any]:
    """The whole table as plain values.

    Args:
        rows: by name, in the order of the table; those without a measured seed are left out.
        about: recipe, split, steps and so on, put first.
    """
    top = ceiling(rows)
    entries = []
    for name, row in rows.items():
        if not row.measured:
            continue
        gap = None
        if top["valid"] and name not in (ALONE, LATE, CROSS):
            gap = _gap_closed(row, rows, top)
        entries.append(
            {
                "row": name,
                "what": row.what,
                "trained_as": row.trained_as,
                "seeds": [seed for seed in row.measured if seed is not None],
                "questions": len(next(iter(row.measured.values())).query_ids),
                MAIN: row.mean(MAIN),
                SECOND: row.mean(SECOND),
                f"{MAIN} by seed": [one.mean(MAIN) for one in row.measured.values()],
                "gap_closed": gap,
                "seconds": float(np.mean(list(row.seconds.values()))) if row.seconds else None,
                "over_alone": over(row, rows[ALONE]) if ALONE in rows and name != ALONE else None,
                "over_both": over(row, rows[BOTH]) if BOTH in rows and name != BOTH else None,
                "over": {
                    peer: over(row, other)
                    for peer, other in rows.items()
                    if name == FULL and peer not in (FULL, LATE, CROSS) and other.measured
                },
            }
        )
    said = {key: value for key, value in top.items() if key != "questions"}
    return {**about, "ceiling": said | {"questions": len(top.get("questions", []))}, "rows": entries}


def markdown(table: Mapping[str, Any]) -> str:
    """``figures`` as a Markdown table with its conditions above and below."""
    lines = [
        f"{table['recipe']}, split {table['split']}, {table['steps']} steps a row, "
        f"base {table['base']}" + (f" cut to {table['layers']} layers" if table["layers"] else ""),
        *(f"row {row} with {_said(values)}" for row, values in table.get("changed", {}).items()),
        "",
        f"| row | {MAIN} | {SECOND} | gap closed | seconds | over {ALONE} | p | over {BOTH} | p | seeds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table["rows"]:
        cells = [
            f"{row['row']}: {row['what']}",
            f"{row[MAIN]:.4f}",
            f"{row[SECOND]:.4f}",
            "" if row["gap_closed"] is None else f"{row['gap_closed']:.2f}",
            "" if row["seconds"] is None else f"{row['seconds']:.0f}",
            *_gain(row["over_alone"]),
            *_gain(row["over_both"]),
            ", ".join(map(str, row["seeds"])),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    top = table["ceiling"]
    lines += [
        "",
        "Means over questions and seeds; p: paired randomisation over questions, averaged over seeds.",
    ]
    lines += [line for row in table["rows"] for line in _throughout(row)]
    if "value" in top:
        lines.append(
            f"Ceilings on {top['questions']} fixed questions: late interaction {top['late']:.4f}, "
            f"cross-encoder {top['cross']:.4f}, {ALONE} there {top['alone']:.4f}."
        )
        gain, p = _gain(top["cross_over_late"])
        lines.append(f"The cross-encoder over late interaction: {gain}, p {p}.")
    if not top["valid"]:
        lines.append(f"No gap closed is given: {top['why']}.")
    return "\n".join(lines) + "\n"


def _throughout(row: Mapping[str, Any]) -> list[str]:
    """Gains over rows whose warm-up has no distillation, as sentences below the table."""
    gains = {peer: _gain(found) for peer, found in row["over"].items() if peer.endswith("-throughout")}
    return [f"{row['row']} over {peer}: {gain}, p {p}." for peer, (gain, p) in gains.items() if gain]


def _said(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _gain(found: Mapping[str, Any] | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    p = f"< {SMALLEST_SHOWN_P}" if found["p"] < SMALLEST_SHOWN_P else f"{found['p']:.3f}"
    return f"{found['difference']:+.4f}", p
