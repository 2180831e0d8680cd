"""The page around the sections: one file that asks nobody for anything."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ernie_search import __version__
from ernie_search.files import atomic_write
from ernie_search.report.html import Html, join, raw, tag
from ernie_search.report.style import STYLE

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
    """All that a page shows, in order."""

    title: str
    about: str = ""
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
        tag("style", raw(STYLE)),
    ]
    body: list[Html] = [
        tag("header", tag("h1", report.title), tag("p", report.about) if report.about else None),
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
