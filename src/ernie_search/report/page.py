"""The page around the sections: one HTML file without outside resources, in which every text is escaped."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Union

from ernie_search import __version__
from ernie_search._util.files import atomic_write

Content = Union["Html", str, int, float, None, Iterable["Content"]]
"""Content of an element: text (escaped), elements, or lists of both."""

VOID = frozenset(("br", "meta", "line", "rect", "circle", "path", "col"))
"""Elements without content, closed at once."""
CONTROL = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 127, *range(0xD800, 0xE000)), "�")
"""Control characters, which HTML does not allow, become the replacement character; so do single surrogates,
as which Python reads the bytes of a file's name that are no UTF-8."""


class Html(str):
    """Text that is HTML already. Only this module makes it."""

    __slots__ = ()


def escape(text: object) -> Html:
    """Any value as text that an element or an attribute's quotes can hold."""
    return Html(html.escape(str(text).translate(CONTROL)))


def join(content: Content) -> Html:
    """Content as one piece of HTML."""
    if content is None:
        return Html("")
    if isinstance(content, Html):
        return content
    if isinstance(content, (str, int, float)):
        return escape(content)
    return Html("".join(join(one) for one in content))


def tag(name: str, *content: Content, **attributes: object) -> Html:
    """An HTML element.

    >>> tag("p", "1 < 2", class_="a")
    '<p class="a">1 &lt; 2</p>'

    Args:
        name: of the element.
        *content: see :data:`Content`.
        **attributes: ``class_`` is ``class``, ``aria_label`` is ``aria-label``; None is left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID and not content:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{join(content)}</{name}>")


def table(head: Iterable[Content], rows: Iterable[Iterable[Content]], *, numbers_from: int = 1) -> Html:
    """A table that scrolls sideways on a narrow screen; its first column stays.

    Args:
        head: the columns' names.
        rows: their cells.
        numbers_from: columns from this one on are set to the right, in figures of equal width.
    """

    def cells(kind: str, row: Iterable[Content]) -> list[Html]:
        return [
            tag(
                kind,
                cell,
                class_="n" if place >= numbers_from else None,
                scope="col" if kind == "th" else None,
            )
            for place, cell in enumerate(row)
        ]

    body = [tag("tr", cells("td", row)) for row in rows]
    inner = tag("table", tag("thead", tag("tr", cells("th", head))), tag("tbody", body))
    return tag("div", inner, class_="scroll", tabindex=0, role="region", aria_label="table")


def details(summary: Content, *content: Content, opened: bool = False) -> Html:
    """Content behind a line that opens it; on paper it is open."""
    body = join([tag("summary", summary), tag("div", content, class_="inside")])
    return Html(f"<details{' open' if opened else ''}>{body}</details>")


def pairs(rows: Iterable[tuple[Content, Content]]) -> Html:
    """Names and values, in as many columns as the screen holds."""
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in rows], class_="pairs")


LIGHT = (
    "--bg:#f6f7f9;--card:#fff;--text:#1c2430;--soft:#5c6675;--line:#dfe3e9;--faint:#eef1f5;--accent:#2457d6;"
    "--good:#157a48;--bad:#b3261e;"
    "--c0:#2457d6;--c1:#c2570c;--c2:#15803d;--c3:#8b3fc4;--c4:#be185d;--c5:#0e7490"
)
DARK = (
    "--bg:#10141b;--card:#181e27;--text:#e6eaf0;--soft:#9aa6b6;--line:#2c3542;--faint:#222a35;--accent:#86a9ff;"
    "--good:#5fd39a;--bad:#ff9189;"
    "--c0:#86a9ff;--c1:#ffa45c;--c2:#5fd39a;--c3:#c99cff;--c4:#ff8ab8;--c5:#5ecbe0"
)
"""Text and lines reach WCAG AA (4.5 : 1 for text, 3 : 1 for lines) on ``--card`` in both."""

SERIES = 6
"""Colours of curves; further ones take them again, dashed."""

STYLE = "".join(
    (
        f":root{{color-scheme:light dark;{LIGHT}}}",
        f"@media screen and (prefers-color-scheme:dark){{:root{{{DARK}}}}}",
        *(f".s{number}{{--c:var(--c{number})}}" for number in range(SERIES)),
        Path(__file__).with_name("style.css").read_text(encoding="utf-8"),
    )
)


POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What the page may load: its own style, nothing else. Even a fault of ours could fetch and run nothing."""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report.

    Attributes:
        title: its heading.
        body: its content.
        lead: one sentence under the heading.
    """

    title: str
    body: Html
    lead: str = ""


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure at the top: the value large, what it is below."""

    value: str
    what: str


@dataclass(slots=True)
class Report:
    """The contents of a page, in order."""

    title: str
    tiles: list[Tile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)


def render(report: Report) -> str:
    """The report as one HTML document."""
    anchors = [f"part-{number}" for number in range(1, len(report.sections) + 1)]
    sections = [
        tag(
            "section",
            tag("h2", one.title),
            tag("p", one.lead, class_="lead") if one.lead else None,
            one.body,
            id=anchor,
        )
        for one, anchor in zip(report.sections, anchors, strict=True)
    ]
    links = [
        tag("a", one.title, href=f"#{anchor}") for one, anchor in zip(report.sections, anchors, strict=True)
    ]
    head = [
        Html('<meta charset="utf-8"/>'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1"/>'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>'),
        Html('<link rel="icon" href="data:,"/>'),  # or the browser asks for /favicon.ico
        tag("title", report.title),
        tag("style", Html(STYLE)),
    ]
    body: list[Html] = [
        tag("header", tag("h1", report.title)),
        tag("nav", links, aria_label="parts") if len(links) > 1 else Html(""),
        _tiles(report.tiles),
        *(tag("p", note, class_="note") for note in report.notes),
        *sections,
        tag("footer", f"ernie-search {__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head>{join(head)}</head><body>{tag("main", body)}</body></html>\n'
    )


def write_report(report: Report, path: Path) -> Path:
    """Write the page; it appears whole or not at all.

    Raises:
        StorageError: the disk refused.
    """
    with atomic_write(path) as handle:
        handle.write(render(report))
    return path


def _tiles(tiles: Sequence[Tile]) -> Html:
    if not tiles:
        return Html("")
    return tag(
        "div",
        [tag("div", tag("b", one.value), tag("span", one.what), class_="tile") for one in tiles],
        class_="tiles",
    )
