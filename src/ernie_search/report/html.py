"""HTML from Python: whatever is not marked as HTML is escaped, so no text of a collection can act."""

import html
from collections.abc import Iterable
from typing import Union

Content = Union["Html", str, int, float, None, Iterable["Content"]]
"""What may stand in an element: text (escaped), elements, or lists of both."""

VOID = frozenset(("br", "meta", "line", "rect", "circle", "path", "col"))
"""Elements without content, closed at once."""
CONTROL = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 127), "�")
"""Control characters, which HTML does not allow, become the replacement character."""


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
    """An element.

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


def raw(text: str) -> Html:
    """Our own text that must not be escaped: the style sheet."""
    return Html(text)


def table(
    head: Iterable[Content], rows: Iterable[Iterable[Content]], *, numbers_from: int = 1, class_: str = ""
) -> Html:
    """A table that scrolls sideways on a narrow screen; its first column stays.

    Args:
        head: the columns' names.
        rows: their cells.
        numbers_from: columns from this one on are set to the right, in figures of equal width.
        class_: of the table.
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
    inner = tag(
        "table", tag("thead", tag("tr", cells("th", head))), tag("tbody", body), class_=class_ or None
    )
    return tag("div", inner, class_="scroll", tabindex=0, role="region", aria_label="table")


def details(summary: Content, *content: Content, opened: bool = False) -> Html:
    """Content behind a line that opens it; on paper it is open."""
    body = join([tag("summary", summary), tag("div", content, class_="inside")])
    return Html(f"<details{' open' if opened else ''}>{body}</details>")


def pairs(rows: Iterable[tuple[Content, Content]]) -> Html:
    """Names and values, in as many columns as the screen holds."""
    return tag("dl", [tag("div", tag("dt", name), tag("dd", value)) for name, value in rows], class_="pairs")
