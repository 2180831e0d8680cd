"""A chart of values with their intervals, one line each: which rows of a table differ from nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from ernie_search.report.chart import RIGHT, WIDTH, nice_ticks, short
from ernie_search.report.html import Content, Html, tag

NAMES, LINE, FOOT, DOT = 104, 22, 34, 4
"""Units: of the names beside the lines, of a line's height, of the scale below, of a dot's radius."""
LONGEST_NAME = 16
"""Letters; a longer one is cut, its whole is there to point at."""


@dataclass(frozen=True, slots=True)
class Interval:
    """One line: its name, the value, and where it may lie."""

    name: str
    value: float
    low: float
    high: float


def interval_chart(lines: Sequence[Interval], title: Content, *, x_label: str, note: str = "") -> Html:
    """Each value as a dot over its interval; green above zero, red below, grey where zero is inside."""
    if not lines:
        return Html("")
    ticks = nice_ticks(min(0.0, *(one.low for one in lines)), max(0.0, *(one.high for one in lines)))
    bottom = LINE * len(lines) + LINE // 2
    width = WIDTH - NAMES - RIGHT

    def at(value: float) -> float:
        return NAMES + (value - ticks[0]) / (ticks[-1] - ticks[0]) * width

    parts = []
    for tick in ticks:
        x = f"{at(tick):.1f}"
        class_ = "axis" if tick == 0 else "gridline"
        parts.append(tag("line", x1=x, x2=x, y1=LINE // 2, y2=bottom, class_=class_))
        parts.append(tag("text", short(tick), x=x, y=bottom + 15, text_anchor="middle"))
    parts.append(tag("text", x_label, x=NAMES + width / 2, y=bottom + 30, text_anchor="middle"))
    for place, one in enumerate(lines):
        y = LINE * (place + 1)
        shown = one.name if len(one.name) <= LONGEST_NAME else one.name[: LONGEST_NAME - 1] + "…"
        said = tag("title", f"{one.name}: {one.value:+.4f}, {one.low:+.4f} to {one.high:+.4f}")
        ends = {"x1": f"{at(one.low):.1f}", "x2": f"{at(one.high):.1f}", "y1": y, "y2": y}
        dot = tag("circle", cx=f"{at(one.value):.1f}", cy=y, r=DOT)
        parts.append(tag("text", shown, x=NAMES - 8, y=y + 4, text_anchor="end"))
        parts.append(tag("g", said, tag("line", **ends), dot, class_=f"interval {_side(one)}"))
    label = f"{title}: {', '.join(f'{one.name} {one.value:+.4f}' for one in lines)}"
    svg = tag("svg", parts, viewBox=f"0 0 {WIDTH} {bottom + FOOT}", role="img", aria_label=label)
    caption = tag("figcaption", title, tag("small", note) if note else None)
    return tag("figure", caption, svg)


def _side(one: Interval) -> str:
    return "right" if one.low > 0 else "left" if one.high < 0 else "open"
