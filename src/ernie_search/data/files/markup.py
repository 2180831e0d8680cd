"""Readers of text with marks in it: Markdown, reStructuredText, and text without any."""

import re
from collections.abc import Iterator

from ernie_search.data.files.document import Block, Document, Headings

FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
FRONT_TITLE = re.compile(r"title:\s*(.+)", re.IGNORECASE)
MARKS = re.compile(r"!?\[([^\]]*)\]\([^)\s]*(?:\s+\"[^\"]*\")?\)|[*_`]{1,3}(?=\S)|(?<=\S)[*_`]{1,3}(?!\w)")
"""In a heading: links and emphasis."""

RST_LINE = re.compile(r"([^\w\s])\1{2,}[ \t]*$")
RST_ROLE = re.compile(
    r":[\w:.+-]+:`~?\.?([^`<]*?)(?:\s*<[^`>]*>)?`|``([^`]*)``|`([^`<]*?)(?:\s*<[^`>]*>)?`_{0,2}"
)
RST_TARGET = re.compile(r"\.\. _[^:]*:")


def read_plain(text: str) -> Document:
    """Paragraphs, with blank lines between."""
    return Document(blocks=list(_paragraphs(text.split("\n"), 1, ())))


def _paragraphs(lines: list[str], first: int, headings: tuple[str, ...]) -> Iterator[Block]:
    """Blocks of lines with blank ones between; ``first`` is the number of the first line."""
    start: int | None = None
    for place, line in enumerate([*lines, ""]):
        if line.strip():
            start = place if start is None else start
        elif start is not None:
            yield Block("\n".join(one.rstrip() for one in lines[start:place]), headings, first + start)
            start = None


def read_markdown(text: str, headings: Headings | None = None) -> Document:
    """Sections by headings of both kinds, code fences as they are, a title from front matter.

    Args:
        text: of the file, or of a cell of a notebook.
        headings: those above, which are continued.
    """
    headings = headings or Headings()
    lines = text.split("\n")
    found = Document()
    start = _front_matter(lines, found)
    pending: list[str] = []

    def flush(until: int) -> None:
        found.blocks.extend(_paragraphs(pending, until - len(pending) + 1, headings.path))
        pending.clear()

    place = start
    while place < len(lines):
        line = lines[place]
        fence, heading = FENCE.match(line), ATX.match(line)
        if fence:
            flush(place)
            end = _fence_end(lines, place, fence[1])
            code = "\n".join(lines[place : end + 1])
            found.blocks.append(Block(code, headings.path, place + 1, code=True))
            place = end + 1
            continue
        if heading:
            flush(place)
            _enter(found, headings, len(heading[1]), heading[2] or "")
        elif UNDERLINE.match(line) and pending and pending[-1].strip() and not _is_table(pending[-1]):
            title = pending.pop()
            flush(place - 1)
            _enter(found, headings, 1 if line.lstrip().startswith("=") else 2, title)
        else:
            pending.append(line)
        place += 1
    flush(place)
    return found


def _enter(found: Document, headings: Headings, level: int, text: str) -> None:
    text = " ".join(MARKS.sub(r"\1", text).split())
    if level == 1 and not found.title and not headings.path:
        found.title = text
    headings.enter(level, text)


def _front_matter(lines: list[str], found: Document) -> int:
    """The line after the settings that a page may begin with; their title is the document's."""
    if not lines or lines[0].rstrip() != "---":
        return 0
    for place, line in enumerate(lines[1:], 1):
        if line.rstrip() in ("---", "..."):
            return place + 1
        match = FRONT_TITLE.match(line)
        if match:
            found.title = match[1].strip().strip("\"'")
    found.title = ""
    return 0


def _fence_end(lines: list[str], start: int, mark: str) -> int:
    """The line that closes a fence; the last one where none does."""
    closing = re.compile(rf" {{0,3}}{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$")
    return next((n for n in range(start + 1, len(lines)) if closing.match(lines[n])), len(lines) - 1)


def _is_table(line: str) -> bool:
    return line.lstrip().startswith(("|", "-", "*", "+", ">"))


def read_rst(text: str) -> Document:
    """Sections by underlined (and overlined) titles; the levels are in the order in which they come."""
    lines, found, headings = text.split("\n"), Document(), Headings()
    levels: list[tuple[str, bool]] = []
    pending: list[str] = []

    def flush(until: int) -> None:
        kept = ["" if RST_TARGET.match(line) else line for line in pending]
        found.blocks.extend(_paragraphs(kept, until - len(kept) + 1, headings.path))
        pending.clear()

    place = 0
    while place < len(lines):
        title, over = _rst_title(lines, place)
        if not title:
            pending.append(lines[place])
            place += 1
            continue
        flush(place)
        style = (lines[place + 1][0], over)
        if style not in levels:
            levels.append(style)
        name = RST_ROLE.sub(lambda match: match[1] or match[2] or match[3] or "", title)
        if not found.title and not headings.path:
            found.title = name
        headings.enter(levels.index(style) + 1, name)
        place += 3 if over else 2
    flush(place)
    return found


def _rst_title(lines: list[str], place: int) -> tuple[str, bool]:
    """The title that begins at a line, and whether it has a line above it, too; "" if none does."""
    line, second, third = [*lines[place : place + 3], "", ""][:3]
    if RST_LINE.match(line) and second.strip() and third.rstrip() == line.rstrip():
        return second.strip(), True
    fits = RST_LINE.match(second) and len(second.rstrip()) >= len(line.rstrip())
    if line.strip() and not line[0].isspace() and fits and not RST_LINE.match(line):
        return line.strip(), False
    return "", False
