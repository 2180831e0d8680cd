"""Charts as inline SVG: curves with bands, clouds of points, differences. The style sheet has the colours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ernie_search.report.page import SERIES, Content, Html, tag

WIDTH, HEIGHT = 380, 225
"""Units of a chart. On a phone it is about as many pixels wide, so that its letters keep their size."""
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 34
MOST_POINTS = 300
"""Of one curve; longer ones are averaged into as many pieces."""
FEW_POINTS = 14
"""Up to so many are marked with dots, each with its value to point at."""
NAMES, LINE, FOOT, DOT = 104, 22, 34, 4
"""Units: of the names beside the lines, of a line's height, of the scale below, of a dot's radius."""
LONGEST_NAME = 16
"""Letters; a longer one is cut, its whole is there to point at."""


@dataclass(frozen=True, slots=True)
class Series:
    """The points of a curve or of a cloud.

    Attributes:
        name: in the legend.
        points: (x, y), finite.
        band: (low, high) at each point, or nothing.
    """

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True, slots=True)
class Interval:
    """One line of an interval chart: name, value and interval."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Axes:
    """Maps values to places in the picture."""

    x: tuple[float, float]
    y: tuple[float, float]
    log_x: bool = False

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The place (x, y) of a point in the picture."""
        return self.at_x(x), self.at_y(y)

    def at_x(self, x: float) -> float:
        """The distance of a value from the left edge."""
        low, high = self.x
        if self.log_x:
            low, high, x = math.log(low), math.log(high), math.log(x)
        return LEFT + (x - low) / ((high - low) or 1) * (WIDTH - LEFT - RIGHT)

    def at_y(self, y: float) -> float:
        """The distance of a value from the top edge."""
        low, high = self.y
        return HEIGHT - BOTTOM - (y - low) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)


FLAT = 1e-10
"""A difference, and a share of the values, below which a chart would show rounding alone."""


def nice_ticks(low: float, high: float, number: int = 5) -> list[float]:
    """About ``number`` round values (1, 2 or 5 times a power of ten) that cover ``low`` to ``high``.

    Ends that differ by no more than rounding makes them count as equal, and get room on both sides.
    """
    largest = max(abs(low), abs(high))
    if not high - low > max(FLAT, FLAT * largest):
        pad = 0.1 * largest if largest > FLAT else 1.0
        low, high = low - pad, high + pad
    rough = (high - low) / number
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(one * power for one in (1, 2, 5, 10) if one * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(one * step, 12) for one in range(first, last + 1)]


def short(value: float) -> str:
    """A tick's text: ``0.25``, ``1,500``, ``2e-05``."""
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e").replace(".0e", "e")
    return f"{value:,.10g}"


def line_chart(
    series: Sequence[Series],
    title: Content,
    *,
    x_label: str,
    log_x: bool = False,
    note: str = "",
    wide: bool = False,
) -> Html:
    """A chart of curves, with their bands, and a legend if there are several."""
    shown = [Series(one.name, *_thinned(one)) for one in series if one.points]
    xs = [x for one in shown for x, _ in one.points]
    ys = [y for one in shown for _, y in one.points] + [y for one in shown for pair in one.band for y in pair]
    if not xs:
        return Html("")
    y_ticks = nice_ticks(min(ys), max(ys))
    x_ticks = _log_ticks(min(xs), max(xs)) if log_x else _inner_ticks(min(xs), max(xs))
    ends = (min(xs), max(xs)) if max(xs) > min(xs) else (min(xs) / 2, min(xs) * 2 or 1.0)  # a lone point
    axes = Axes(ends, (y_ticks[0], y_ticks[-1]), log_x)
    parts = [_frame(axes, x_ticks, y_ticks, x_label)]
    for number, one in enumerate(shown):
        if one.band:
            upper = [axes.at(x, high) for (x, _), (_, high) in zip(one.points, one.band, strict=True)]
            lower = [axes.at(x, low) for (x, _), (low, _) in zip(one.points, one.band, strict=True)]
            parts.append(tag("path", d=_path(upper + lower[::-1]) + "Z", class_=f"band {_colour(number)}"))
    for number, one in enumerate(shown):
        places = [axes.at(x, y) for x, y in one.points]
        if len(places) > 1:
            parts.append(tag("path", d=_path(places), class_=f"curve {_colour(number)} {_dash(number)}"))
        if len(places) <= FEW_POINTS:
            parts += [
                tag(
                    "circle",
                    tag("title", f"{one.name}, {short(x)}: {y:.4g}"),
                    cx=f"{px:.1f}",
                    cy=f"{py:.1f}",
                    r=3,
                    class_=f"dot {_colour(number)}",
                )
                for (px, py), (x, y) in zip(places, one.points, strict=True)
            ]
    return _figure(parts, title, [one.name for one in shown], note, wide=wide)


def scatter_chart(
    series: Sequence[Series],
    title: Content,
    *,
    x_label: str,
    y_label: str,
    note: str = "",
    wide: bool = False,
) -> Html:
    """A scatter plot of several clouds of points."""
    points = [point for one in series for point in one.points]
    if not points:
        return Html("")
    xs, ys = zip(*points, strict=True)
    x_ticks, y_ticks = nice_ticks(min(xs), max(xs)), nice_ticks(min(ys), max(ys))
    axes = Axes((x_ticks[0], x_ticks[-1]), (y_ticks[0], y_ticks[-1]))
    parts = [_frame(axes, x_ticks, y_ticks, x_label)]
    for number, one in enumerate(series):
        dots = []
        for x, y in one.points:
            px, py = axes.at(x, y)
            dots.append(tag("circle", cx=f"{px:.1f}", cy=f"{py:.1f}", r=2.2))
        parts.append(tag("g", dots, class_=f"cloud {_colour(number)}"))
    note = f"up: {y_label}{'; ' if note else ''}{note}"
    return _figure(parts, title, [one.name for one in series], note, wide=wide)


def difference_chart(values: Sequence[float], title: Content, *, note: str = "", wide: bool = False) -> Html:
    """Every question's difference, from the best won to the worst lost: area above and below zero."""
    if not values:
        return Html("")
    ordered = sorted(values, reverse=True)
    pieces = min(len(ordered), MOST_POINTS)
    edges = [round(place * len(ordered) / pieces) for place in range(pieces + 1)]
    most = max(0.1, max(abs(one) for one in ordered))
    y_ticks = nice_ticks(-most, most, 4)
    axes = Axes((0, len(ordered)), (y_ticks[0], y_ticks[-1]))
    steps: list[tuple[float, float]] = []
    for start, stop in pairwise(edges):
        mean = sum(ordered[start:stop]) / max(1, stop - start)
        steps += [(start, mean), (stop, mean)]
    parts = [_frame(axes, _inner_ticks(0, len(ordered)), y_ticks, "questions, by difference")]
    for class_, keep in (("won", 1), ("lost", -1)):
        kept = [(x, y if y * keep > 0 else 0.0) for x, y in steps]
        places = [axes.at(0, 0), *(axes.at(x, y) for x, y in kept), axes.at(len(ordered), 0)]
        parts.append(tag("path", d=_path(places) + "Z", class_=class_))
    zero = f"{axes.at_y(0):.1f}"
    parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=zero, y2=zero, class_="axis"))
    return _figure(parts, title, [], note, wide=wide)


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
    values = [f"{one.name} {one.value:+.4f}" for one in lines]
    return _figure(parts, title, values, note, legends=False, height=bottom + FOOT)


def legend(names: Sequence[str]) -> Html:
    """A legend: names beside their colours."""
    return tag(
        "ul",
        [
            tag("li", tag("i", "", class_=_dash(place) or None), name, class_=_colour(place))
            for place, name in enumerate(names)
        ],
        class_="legend",
    )


def _figure(
    parts: Sequence[Html],
    title: Content,
    names: Sequence[str],
    note: str,
    *,
    wide: bool = False,
    legends: bool = True,
    height: int = HEIGHT,
) -> Html:
    caption = tag("figcaption", title, tag("small", note) if note else None)
    label = f"{title}: {', '.join(names)}" if names else title
    svg = tag("svg", parts, viewBox=f"0 0 {WIDTH} {height}", role="img", aria_label=label)
    shown = legend(names) if legends and len(names) > 1 else None
    return tag("figure", caption, svg, shown, class_="one" if wide else None)


def _frame(axes: Axes, x_ticks: Sequence[float], y_ticks: Sequence[float], x_label: str) -> Html:
    parts = []
    for tick in y_ticks:
        y = f"{axes.at_y(tick):.1f}"
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="gridline"))
        parts.append(tag("text", short(tick), x=LEFT - 6, y=f"{axes.at_y(tick) + 4:.1f}", text_anchor="end"))
    for tick in x_ticks:
        x = f"{axes.at_x(tick):.1f}"
        parts.append(tag("text", short(tick), x=x, y=HEIGHT - BOTTOM + 15, text_anchor="middle"))
    parts.append(tag("text", x_label, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 3, text_anchor="middle"))
    return tag("g", parts)


def _inner_ticks(low: float, high: float) -> list[float]:
    """Round values between the ends; the ends themselves if there is no room for more."""
    found = [tick for tick in nice_ticks(low, high) if low <= tick <= high]
    return found if len(found) > 1 else sorted({low, high})


def _log_ticks(low: float, high: float) -> list[float]:
    found = [10.0**power for power in range(-3, 8) if low <= 10.0**power <= high]
    return found if len(found) > 1 else sorted({low, high})


def _thinned(one: Series) -> tuple[list[tuple[float, float]], Sequence[tuple[float, float]]]:
    """A long curve's means over pieces of equal length (curves with bands are short)."""
    points = [(x, y) for x, y in one.points if math.isfinite(x) and math.isfinite(y)]
    if len(points) <= MOST_POINTS or one.band:
        return points, one.band
    edges = [round(place * len(points) / MOST_POINTS) for place in range(MOST_POINTS + 1)]
    pieces = [points[start:stop] for start, stop in pairwise(edges)]
    return [(piece[-1][0], sum(y for _, y in piece) / len(piece)) for piece in pieces], ()


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _colour(number: int) -> str:
    return f"s{number % SERIES}"


def _dash(number: int) -> str:
    return "dash" if number // SERIES % 2 else ""


def _side(one: Interval) -> str:
    return "right" if one.low > 0 else "left" if one.high < 0 else "open"
