"""What a system came to: the variant that dev chose, and its rows by seed."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.peers.environments import PeerError
from benchmarks.peers.rows import MEASURES, Bench, Row
from benchmarks.peers.systems import DENSE, LATE, OURS, System, Variant


@dataclass(slots=True)
class Result:
    """A system's rows, or why there are none.

    Attributes:
        failed: why it could not be installed or run here.
        variant: the one that dev chose.
        dev: its MRR@10 there, by variant; the mean of its readings.
        rows: by seed.
        reused: seeds whose model was trained before, so that its seconds are not known.
        seconds: of every training of the system that was timed: all variants, all seeds.
    """

    failed: str = ""
    variant: Variant | None = None
    dev: dict[str, float] = field(default_factory=dict)
    rows: dict[int, Row] = field(default_factory=dict)
    reused: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def first_seed(bench: Bench, system: System, seed: int) -> Result:
    """Train every variant with one seed; dev chooses."""
    result, best = Result(), -1.0
    try:
        for variant in system.variants:
            row = bench.row(system, variant, seed)
            result.seconds.append(row.told["seconds"])
            value = float(np.mean([_dev(row, reading) for reading in system.readings]))
            result.dev[variant.name] = round(value, 4)
            if value > best:
                best, result.variant, result.rows[seed] = value, variant, row
        if result.variant is None:
            raise PeerError(f"{system.name} has no variants")
    except PeerError as error:
        result.failed = str(error)
    return result


def best_on_dev(results: dict[str, tuple[System, Result]], seed: int) -> set[str]:
    """This project, and the peer with the highest MRR@10 on dev in each reading: they get the other seeds."""
    found = {OURS}
    for reading in (DENSE, LATE):
        peers = {
            name: _dev(result.rows[seed], reading)
            for name, (system, result) in results.items()
            if name != OURS and not result.failed and reading in system.readings
        }
        if peers:
            found.add(max(peers, key=lambda name: peers[name]))
    return found


def further_seeds(
    bench: Bench, system: System, result: Result, seeds: list[int], trained: dict[int, Path]
) -> None:
    """Train the chosen variant with more seeds.

    Args:
        bench, system, result: see :func:`first_seed`; rows are added to ``result``.
        seeds: to add.
        trained: this project's models of these seeds that are there already, to be measured as they are.
    """
    variant = result.variant
    if result.failed or variant is None:
        return
    try:
        for seed in seeds:
            model = trained.get(seed) if system.name == OURS else None
            result.rows[seed] = bench.row(system, variant, seed, model)
            if model is not None:
                result.reused.append(seed)
            else:
                result.seconds.append(result.rows[seed].told["seconds"])
    except PeerError as error:
        result.failed = str(error)


def _dev(row: Row, reading: str) -> float:
    return row.measured[reading, "dev"].mean(MEASURES[0])
