"""Sections of a training or pipeline folder: stages, curves, truncation, time, memory, settings, origin."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ernie_search.report.chart import Series, line_chart
from ernie_search.report.folder import StageRecord
from ernie_search.report.page import Content, Html, Section, Tile, details, join, pairs, table, tag

PANELS = (
    ("Loss terms, unweighted", "raw_", ""),
    ("Loss terms, weighted", "loss", "their sum is the loss"),
    ("Teacher's lead over its student", "lead_", "0.2 and more: its term has its whole weight; 0: none"),
    ("Weight of a term", "weight_", "as it follows from the lead"),
    ("Teacher's entropy, nats", "entropy", "a useful teacher stays between 0.5 and 1.5"),
    ("Norm of the gradient", "grad_norm", "before clipping"),
    ("Learning rate", "learning_rate", ""),
    ("Sample of dev", "eval_", ""),
)
"""Title of each panel, what the names of its curves begin or end with, and a remark."""
NOT_DRAWN = ("runtime", "per_second", "epoch")


def training_sections(stages: Sequence[StageRecord]) -> list[Section]:
    """Sections of a training or pipeline folder."""
    curves = [join(_curves(stage)) for stage in stages if stage.curves]
    found = [Section("Stages", _stages(stages), "What was done, in order.")]
    if curves:
        found.append(Section("Curves", join(curves)))
    cut = "Cut: the share of the texts of all steps that were longer than the model reads."
    found.append(Section("Time, memory and truncation", _cost(stages), cut))
    found.append(Section("Settings", join(_settings(stages)), "Everything that a stage was asked to do."))
    found.append(
        Section("Versions and fingerprints", _origin(stages), "What was read, and by which versions.")
    )
    return found


def training_tiles(stages: Sequence[StageRecord]) -> list[Tile]:
    """The figures at the top of the page: the best dev figure and the total time."""
    best = [(one.best_metric, one) for one in stages if one.best_metric is not None]
    seconds = [one.seconds for one in stages if one.seconds is not None and " / " not in one.name]
    tiles = (
        [Tile(f"{best[-1][0]:.3f}", f"best on dev, {best[-1][1].name}, step {best[-1][1].best_step}")]
        if best
        else []
    )
    if seconds:
        tiles.append(
            Tile(duration(sum(seconds)), "in one stage" if len(seconds) == 1 else f"in {len(seconds)} stages")
        )
    return tiles


def duration(seconds: float) -> str:
    """Seconds as text: ``42 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def plain(value: Any) -> str:
    """A setting or count as text."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(one)}" for key, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(one) for one in value)
    return str(value)


def _stages(stages: Sequence[StageRecord]) -> Html:
    rows: list[list[Content]] = []
    kinds = any(one.kind for one in stages)
    for one in stages:
        steps = one.counts.get("steps")
        best = "" if one.best_metric is None else f"{one.best_metric:.4f}"
        rows.append(
            [
                one.name,
                *([one.kind] if kinds else []),
                "done" if one.done else "not finished",
                "" if steps is None else f"{steps:,}",
                [best, tag("small", f"step {one.best_step:,}") if one.best_step else None],
                "" if one.seed is None else one.seed,
            ]
        )
    head = ("stage", *(["kind"] if kinds else []), "state", "steps", "best on dev", "seed")
    found = [table(head, rows, numbers_from=2 + kinds)]
    for one in stages:
        counts = {
            key: value
            for key, value in one.counts.items()
            if key not in ("steps", "truncated", "best_step", "peak_bytes")
        }
        counts.pop("best_metric", None)
        if counts:
            found.append(
                details(f"{one.name}: counts", pairs([(key, plain(value)) for key, value in counts.items()]))
            )
    return join(found)


def _curves(stage: StageRecord) -> list[Content]:
    charts = []
    for title, sign, remark in PANELS:
        series = [
            Series(label(name), [point for point in points if math.isfinite(point[1])])
            for name, points in sorted(stage.curves.items(), key=_order)
            if (name.startswith(sign) or name.endswith(sign)) and not name.endswith(NOT_DRAWN)
        ]
        if sign == "loss" and len(series) == 2:  # one term and the sum, which is the same
            series = series[1:]
        if series:
            charts.append(line_chart(series, title, x_label="step", note=remark))
    return [tag("h3", stage.name), tag("div", charts, class_="grid")] if charts else []


def _order(item: tuple[str, object]) -> tuple[bool, str]:
    """By name, the sum last: so that a term has one colour in all panels."""
    return item[0] == "loss", item[0]


def label(name: str) -> str:
    """What a curve is called: ``raw_dense`` is ``dense``, ``eval_late_mrr`` is ``late mrr``."""
    known = {"teacher_entropy": "late interaction", "grad_norm": "gradient", "loss": "sum"}
    if name in known:
        return known[name]
    for sign in ("raw_", "loss_", "eval_", "lead_", "weight_"):
        name = name.removeprefix(sign)
    return name.removesuffix("_entropy").replace("_", " ")


def _cost(stages: Sequence[StageRecord]) -> Html:
    """Time, memory and truncation; columns of which nothing is known are left out, but for memory."""
    longest = max((one.seconds or 0 for one in stages), default=0) or 1
    cut = any(one.truncated for one in stages)
    rows: list[list[Content]] = []
    for one in stages:
        time: Content = "" if one.seconds is None else [_bar(one.seconds / longest), duration(one.seconds)]
        memory = "not recorded" if one.peak_bytes is None else f"{one.peak_bytes / 2**20:,.0f} MiB"
        shares = [_share(one.truncated.get(task)) for task in ("query", "passage")] if cut else []
        rows.append([one.name, time, memory, *shares])
    head = ("stage", "time", "peak memory", *(("questions cut", "passages cut") if cut else ()))
    return table(head, rows)


def _share(value: float | None) -> Content:
    return "" if value is None else [_bar(value), f"{100 * value:.2f} %"]


def _bar(share: float) -> Html:
    filled = tag("i", "", style=f"width:{100 * min(1.0, max(0.0, share)):.1f}%")
    return tag("span", filled, class_="bar")


def _settings(stages: Sequence[StageRecord]) -> list[Html]:
    return [
        details(one.name, pairs([(key, plain(value)) for key, value in sorted(one.settings.items())]))
        for one in stages
        if one.settings
    ]


def _origin(stages: Sequence[StageRecord]) -> Html:
    versions: dict[str, str] = {}
    for one in stages:
        for name, version in one.versions.items():
            key = name.replace("_", "-")
            before = versions.get(key, "")
            versions[key] = (
                before if str(version) in before.split(", ") else f"{before}, {version}".strip(", ")
            )
    found: list[Content] = []
    if versions:
        found += [tag("h3", "Versions"), pairs(sorted(versions.items()))]
    for one in stages:
        if one.inputs:
            rows: list[tuple[Content, Content]] = [
                (key, tag("code", plain(value))) for key, value in one.inputs.items()
            ]
            found.append(details(f"{one.name}: read", pairs(rows)))
    return join(found) if found else tag("p", "Nothing was recorded.")
