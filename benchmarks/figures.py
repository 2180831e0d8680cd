"""The form of every figure: one JSON object a line, or a table."""

import argparse
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"


@dataclass
class Figure:
    """One measured figure, with its peer from the same run where there is one."""

    figure: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None
    settings: dict[str, Any] = field(default_factory=dict)


BF16_LEFT_OUT = "left out: it does not pay on this processor"
"""What settings say of comparisons in bf16 where ``ernie-search doctor`` finds that it is emulated or slow: a
peer in it would take many times as long."""


def arguments(description: str, **extra: Any) -> argparse.Namespace:
    """``--json``, ``--quick``, and what else a benchmark takes (name=default)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--quick", action="store_true", help="a smaller run of the same kind, in under 3 minutes"
    )
    for name, default in extra.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    return parser.parse_args()


def emit(figures: list[Figure], as_json: bool) -> None:
    """Print figures in the form that was asked for."""
    if as_json:
        for figure in figures:
            print(json.dumps(asdict(figure), ensure_ascii=False), flush=True)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("figure", "value", "unit", "peer", "peer's", "ratio", "settings")
    for one in figures:
        short = ", ".join(f"{key}={value}" for key, value in one.settings.items())
        peer = "" if one.peer_value is None else f"{one.peer_value:.4g}"
        ratio = "" if one.ratio is None else f"{one.ratio:.3f}"
        table.add_row(one.figure, f"{one.value:.4g}", one.unit, one.peer or "", peer, ratio, short)
    Console(width=160 if not sys.stdout.isatty() else None).print(table)


def squad_folder() -> Path:
    """Where SQuAD lies, beside the checkout; stops with one line where it does not."""
    folder = SHARED / "squad"
    if not folder.is_dir():
        raise SystemExit(f"{folder}: SQuAD as a BEIR folder is needed here")
    return folder


def median(values: list[float]) -> float:
    """The middle value."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
