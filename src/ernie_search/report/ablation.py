"""Sections of an ablation folder: its table with gains, p values and the gap closed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ernie_search.errors import DataError
from ernie_search.evaluation.comparison_table import shown_p
from ernie_search.files import read_json
from ernie_search.report.comparison import signed
from ernie_search.report.folder import TABLE
from ernie_search.report.html import Content, Html, join, pairs, table, tag
from ernie_search.report.page import Section, Tile
from ernie_search.report.training import duration, plain

MAIN, SECOND = "MRR@10", "recall@50"
GAINS = (("over_alone", "over alone"), ("over_both", "over both"))


def ablation_sections(folder: Path) -> tuple[list[Section], list[Tile]]:
    """Sections and top figures of a folder that ``ablate`` made.

    Raises:
        DataError: its table is not one of ours.
    """
    found = read_json(folder / TABLE)
    if not isinstance(found, dict) or not isinstance(found.get("rows"), list):
        raise DataError(f"{folder / TABLE}: not the table of an ablation; run the ablation again")
    try:
        rows = [_row(one) for one in found["rows"]]
        best = max(found["rows"], key=lambda one: one[MAIN], default=None)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder / TABLE}: a row lacks {error}; run the ablation again") from error
    head = ("row", MAIN, SECOND, *(title for _, title in GAINS), "gap closed", "seconds", "seeds")
    about = pairs([(key, plain(value)) for key, value in found.items() if key not in ("rows", "ceiling")])
    lead = "Means over questions and seeds; p: paired randomisation over questions, averaged over seeds."
    section = Section("Ablation", join([table(head, rows), _ceiling(found.get("ceiling")), about]), lead)
    tiles = [] if best is None else [Tile(f"{best[MAIN]:.3f}", f"{MAIN}, {best['row']}")]
    return [section], [*tiles, Tile(str(len(rows)), "rows")]


def _row(one: Mapping[str, Any]) -> list[Content]:
    gap = one["gap_closed"]
    by_seed = one.get(f"{MAIN} by seed", [])
    spread = f"{min(by_seed):.3f} to {max(by_seed):.3f}" if len(by_seed) > 1 else None
    return [
        [tag("b", one["row"]), tag("small", f" {one['what']}", class_="soft")],
        [f"{one[MAIN]:.4f}", tag("small", spread) if spread else None],
        f"{one[SECOND]:.4f}",
        *(_gain(one[key]) for key, _ in GAINS),
        "" if gap is None else f"{100 * gap:.0f} %",
        "" if one["seconds"] is None else duration(one["seconds"]),
        ", ".join(map(str, one["seeds"])),
    ]


def _gain(found: Mapping[str, Any] | None) -> Content:
    if found is None:
        return ""
    return [signed(found["difference"]), tag("small", f"p {shown_p(found['p'])}")]


def _ceiling(top: Mapping[str, Any] | None) -> Html:
    if not top:
        return Html("")
    if not top.get("valid"):
        return tag("p", f"No gap closed is given: {top.get('why', 'there is no ceiling')}.", class_="note")
    return tag(
        "p",
        f"Ceilings on {top['questions']} fixed questions: late interaction {top['late']:.4f}, cross-encoder "
        f"{top['cross']:.4f}, alone there {top['alone']:.4f}.",
    )
