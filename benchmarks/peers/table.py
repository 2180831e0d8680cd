"""The figures: this project over the best peer, reading by reading, and every row with all that it took."""

from typing import Any

import numpy as np

from benchmarks.figures import Figure
from benchmarks.peers.result import Result
from benchmarks.peers.rows import MEASURES
from benchmarks.peers.systems import DENSE, LATE, OURS, System
from ernie_search.ablation.table import RowResult, over

READINGS = {DENSE: "dense_over_best_peer", LATE: "late_over_best_peer"}


def comparisons(
    results: dict[str, tuple[System, Result]], split: str, common: dict[str, Any]
) -> list[Figure]:
    """Quality over the best peer of each reading, and seconds over the fastest peer that distils.

    The best peer is the one with the highest mean on the measured split itself, which favours the peer, among
    those with the most seeds.
    """
    if OURS not in results or results[OURS][1].failed:
        return []
    figures = []
    for reading, key in READINGS.items():
        rows = {name: _as_row(*found, reading, split) for name, found in results.items()}
        peers = {name: row for name, row in rows.items() if name != OURS and row is not None}
        ours = rows[OURS]
        if not peers or ours is None:
            continue
        most = max(len(row.measured) for row in peers.values())
        deepest = [name for name, row in peers.items() if len(row.measured) == most]
        best = max(deepest, key=lambda name: peers[name].mean(MEASURES[0]))
        value, theirs = ours.mean(MEASURES[0]), peers[best].mean(MEASURES[0])
        gain = over(ours, peers[best])
        if gain is None:
            continue
        settings = {
            "interval_95": [round(gain["low"], 4), round(gain["high"], 4)],
            "p": gain["p"],
            "by_seed": gain["seeds"],
            "over_each": {name: _short(over(ours, row)) for name, row in peers.items()},
            **common,
        }
        figures.append(
            Figure(key, round(gain["difference"], 4), "MRR@10", best, theirs, value / theirs, settings)
        )
    return figures + _seconds(results, common)


def row_figures(system: System, result: Result, split: str, common: dict[str, Any]) -> list[Figure]:
    """A figure for each reading of a system; one that says why, where it could not run."""
    if result.failed or result.variant is None:
        return [Figure(f"row_{system.name}", 0.0, "not run", settings={"failed": result.failed})]
    figures = []
    timed = [row for seed, row in result.rows.items() if seed not in result.reused]
    for reading in system.readings:
        row = _as_row(system, result, reading, split)
        if row is None:
            continue
        first = next(iter(result.rows.values()))
        settings = {
            "what": system.what,
            "variant": result.variant.name,
            "settings_from": result.variant.source,
            "learning_rate": result.variant.learning_rate or "the recipe's",
            "own_settings": first.told["settings"],
            "dev MRR@10 by variant": result.dev,
            "recall@50": round(row.mean(MEASURES[1]), 4),
            "MRR@10 by seed": [round(one.mean(MEASURES[0]), 4) for one in row.measured.values()],
            "seeds": list(result.rows),
            "seconds": round(min(result.seconds), 1),
            "peak_mb": round(float(np.max([one.told["peak_mb"] for one in timed]))),
            "bytes_a_passage": round(first.bytes_a_passage[reading]),
            "versions": first.told["versions"],
        }
        figures.append(
            Figure(
                f"row_{system.name}_{reading}",
                round(row.mean(MEASURES[0]), 4),
                "MRR@10",
                settings=settings | common,
            )
        )
    return figures


def _as_row(system: System, result: Result, reading: str, split: str) -> RowResult | None:
    if result.failed or reading not in system.readings:
        return None
    row = RowResult(system.name, system.what)
    for seed, one in result.rows.items():
        row.measured[seed] = one.measured[reading, split]
    return row


def _seconds(results: dict[str, tuple[System, Result]], common: dict[str, Any]) -> list[Figure]:
    """The fastest training of each: all do the same steps, whatever the variant, and the machine is noisy."""
    taken = {
        name: min(result.seconds)
        for name, (system, result) in results.items()
        if system.distils and not result.failed
    }
    ours = taken.pop(OURS)
    if not taken:
        return []
    fastest = min(taken, key=lambda name: taken[name])
    every = {name: [round(one) for one in result.seconds] for name, (_, result) in results.items()}
    settings = {"fastest of each": taken, "all trainings": every, **common}
    return [
        Figure(
            "seconds_over_fastest_distilling_peer",
            ours,
            "s",
            fastest,
            taken[fastest],
            ours / taken[fastest],
            settings,
        )
    ]


def _short(gain: dict[str, Any] | None) -> dict[str, float]:
    return {} if gain is None else {"difference": round(gain["difference"], 4), "p": round(gain["p"], 5)}
