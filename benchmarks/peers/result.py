"""What a system came to: the variant that dev chose, and its rows by seed."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.peers.environments import PeerError
from benchmarks.peers.rows import MEASURES, Bench, Row
from benchmarks.peers.systems import OURS, System, Variant


@dataclass(slots=True)
class Result:
    """A system's rows, or why there are none.

    Attributes:
        failed: why it could not be installed or run here.
        variant: the one that dev chose.
        dev: its MRR@10 there, by variant; the mean of its readings.
        rows: by seed.
        reused: seeds whose model was trained before, so that its seconds are not known.
    """

    failed: str = ""
    variant: Variant | None = None
    dev: dict[str, float] = field(default_factory=dict)
    rows: dict[int, Row] = field(default_factory=dict)
    reused: list[int] = field(default_factory=list)


def run_system(bench: Bench, system: System, seeds: list[int], ablation: Path) -> Result:
    """Choose the variant on dev with the first seed, then run all seeds."""
    result, first = Result(), seeds[0]
    try:
        best = -1.0
        for variant in system.variants:
            row = bench.row(system, variant, first)
            value = float(np.mean([row.measured[one, "dev"].mean(MEASURES[0]) for one in system.readings]))
            result.dev[variant.name] = round(value, 4)
            if value > best:
                best, result.variant, result.rows[first] = value, variant, row
        if result.variant is None:
            raise PeerError(f"{system.name} has no variants")
        for seed in seeds[1:]:
            made = ablation / "rows" / "full" / f"seed-{seed}" / "train"
            reuse = system.name == OURS and (made / "stage.json").is_file()
            result.rows[seed] = bench.row(system, result.variant, seed, made / "last" if reuse else None)
            if reuse:
                result.reused.append(seed)
    except PeerError as error:
        result.failed = str(error)
    return result
