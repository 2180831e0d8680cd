"""Sections of an ablation folder: its table, gains with intervals, curves of its rows, what they share."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ernie_search._util.files import read_json
from ernie_search.errors import DataError
from ernie_search.evaluation import read_run
from ernie_search.evaluation.table import shown_p
from ernie_search.report.chart import Interval, Series, interval_chart, line_chart
from ernie_search.report.comparison import recall_section, signed
from ernie_search.report.folder import LOG, TABLE, read_curves, read_folder
from ernie_search.report.page import Content, Html, Section, Tile, join, pairs, table, tag
from ernie_search.report.training import duration, plain, training_sections
from ernie_search.types import Qrels, Run

MAIN, SECOND = "MRR@10", "recall@50"
GAINS = (("over_alone", "over alone"), ("over_both", "over both"))
SHOWN_APART = ("rows", "ceiling", "asked")
"""Of a table: what is not one of the facts below it."""
PANELS = (
    ("Contrastive loss of the single vector", "raw_dense", "unweighted: the one term that all rows have"),
    ("Norm of the gradient", "grad_norm", "before clipping"),
)
"""Title, curve and remark of what is drawn of all rows together; their sums are of different terms."""


def split_of(folder: Path) -> str:
    """The split on which an ablation was measured.

    Raises:
        DataError: its table is not one of ours.
    """
    return str(_table(folder).get("split", "dev"))


def collection_of(folder: Path) -> str | None:
    """The fingerprint of the collection on which an ablation was measured, if its table has it.

    Raises:
        DataError: its table is not one of ours.
    """
    found = _table(folder).get("collection")
    return None if found is None else str(found)


def ablation_sections(folder: Path, qrels: Qrels | None = None) -> tuple[list[Section], list[Tile]]:
    """Sections and top figures of a folder that ``ablate`` made.

    Args:
        folder: with ``table.json``, and the rows and shared stages where they were kept.
        qrels: of the table's split, for recall curves.

    Raises:
        DataError: its table is not one of ours.
    """
    found = _table(folder)
    try:
        rows = [_row(one) for one in found["rows"]]
        tests = _pairs(found)
        best = max(found["rows"], key=lambda one: one[MAIN], default=None)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{folder / TABLE}: a row lacks {error}; run the ablation again") from error
    head = ("row", MAIN, SECOND, *(title for _, title in GAINS), "gap closed", "seconds", "seeds")
    about = pairs([(key, plain(value)) for key, value in found.items() if key not in SHOWN_APART])
    lead = "Means over questions and seeds; p: paired randomisation over questions, averaged over seeds."
    parts = [table(head, rows), _ceiling(found.get("ceiling")), *tests, *_gains(found["rows"]), about]
    sections = [Section("Ablation", join(parts), lead)]
    if qrels is not None:
        sections += _recall(folder, found, qrels)
    sections += _training(folder, found["rows"])
    if (folder / "shared").is_dir():
        shared = training_sections(read_folder(folder / "shared"))
        sections += [replace(one, title=f"Shared by all rows: {one.title.lower()}") for one in shared]
    tiles = [] if best is None else [Tile(f"{best[MAIN]:.3f}", f"{MAIN}, {best['row']}")]
    return sections, [*tiles, Tile(str(len(rows)), "rows")]


def _table(folder: Path) -> dict[str, Any]:
    found = read_json(folder / TABLE)
    if not isinstance(found, dict) or not isinstance(found.get("rows"), list):
        raise DataError(f"{folder / TABLE}: not the table of an ablation; run the ablation again")
    return found


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
    cross = "" if top.get("cross") is None else f"cross-encoder {top['cross']:.4f}, "
    return tag(
        "p",
        f"Ceilings on {top['questions']} fixed questions: late interaction {top['late']:.4f}, {cross}"
        f"{top.get('from', 'alone')} there {top.get('start', top.get('alone')):.4f}. ",
        *_better(top.get("cross_over_late")),
    )


def _pairs(found: Mapping[str, Any]) -> list[Html]:
    """Tests by question and by cluster of each pair; tables of earlier versions have none by cluster."""
    lines: list[list[Content]] = []
    for row in found["rows"]:
        for peer, gain in {
            "alone": row["over_alone"],
            "both": row["over_both"],
            **row.get("over", {}),
        }.items():
            for test in [] if not (gain and gain.get("clustered")) else [gain, *gain["clustered"]]:
                name = tag("b", f"{row['row']} over {peer}") if test is gain else None
                lines.append([name, *_test(test, gain["difference"]), _by_seed(gain) if test is gain else ""])
    if not lines:
        return []
    about = f"p (Holm) is corrected over the {found['tests']} tests of a kind in this table."
    head = ("pair", "by", "clusters", "difference", "p (Holm)", "p alone", "by seed")
    return [tag("h3", "Tests"), tag("p", about, class_="lead"), table(head, lines)]


def _test(found: Mapping[str, Any], difference: float) -> list[Content]:
    """Cells of one test: by what, interval, p."""
    return [
        found.get("by", "question"),
        f"{found['clusters']:,}" if "clusters" in found else "",
        [signed(difference), tag("small", f"{found['low']:+.3f} to {found['high']:+.3f}")],
        shown_p(found["p_holm"]),
        shown_p(found["p"]),
    ]


def _by_seed(gain: Mapping[str, Any]) -> str:
    return ", ".join(f"{one['difference']:+.3f}" for one in gain["seeds"])


def _better(found: Mapping[str, Any] | None) -> list[str]:
    """Whether the teacher ranks better than what it teaches; older tables do not say."""
    if not found:
        return []
    gain, p = signed(found["difference"]), shown_p(found["p"])
    return [f"The cross-encoder over late interaction: {gain}, p {p}."]


def _gains(rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    """A chart for each row that others are compared with."""
    charts = []
    for key, title in GAINS:
        lines = [
            Interval(one["row"], one[key]["difference"], one[key]["low"], one[key]["high"])
            for one in rows
            if one.get(key)
        ]
        note = "95 % bootstrap intervals over questions, of the mean over seeds"
        charts.append(interval_chart(lines, f"{MAIN} {title}", x_label="difference", note=note))
    return [tag("div", charts, class_="grid")] if any(charts) else []


def _folder_of(folder: Path, row: Mapping[str, Any]) -> Path:
    """Where a row's first seed lies, be it another's; a row without seeds has one place."""
    place = folder / "rows" / str(row.get("trained_as") or row["row"])
    return place / f"seed-{row['seeds'][0]}" if row["seeds"] else place


def _recall(folder: Path, found: Mapping[str, Any], qrels: Qrels) -> list[Section]:
    """Of the rows whose runs were kept, over all questions: the ceilings re-rank some alone."""
    questions = max((one["questions"] for one in found["rows"]), default=0)
    runs: dict[str, Run] = {}
    for one in found["rows"]:
        path = _folder_of(folder, one) / f"{found.get('split', 'dev')}.trec"
        if one["questions"] == questions and path.is_file():
            runs[one["row"]] = read_run(path)
    if not runs:
        return []
    section = recall_section(runs, qrels)
    return [replace(section, lead=f"The first seed of each row. {section.lead}")]


def _training(folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[Section]:
    """The rows' curves together; a row that shares another's training is not drawn again."""
    drawn = {_folder_of(folder, one): str(one["row"]) for one in reversed(rows)}
    curves = {name: read_curves(place / "train" / LOG) for place, name in reversed(drawn.items())}
    charts = [
        line_chart(
            [Series(name, found[curve]) for name, found in curves.items() if found.get(curve)],
            title,
            x_label="step",
            note=remark,
        )
        for title, curve, remark in PANELS
    ]
    if not any(charts):
        return []
    return [Section("Training of the rows", tag("div", charts, class_="grid"), "The first seed of each row.")]
