"""Prepares docstrings for the reference.

A line for several names (``first, second: ...``) is repeated for each name, and the section ``Example`` gets
the name under which griffe looks for code.
"""

import re
from typing import Any

from griffe import Docstring, Extension

SECTION = re.compile(r"( *)(Args|Attributes):")
SHARED = re.compile(r"( +)(\w+(?:, \w+)+)(: .*)")
EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)


def split_shared(text: str) -> str:
    """The docstring with each shared line of its Args and Attributes written once for each name.

    >>> split_shared("Args:\\n    a, b: both.\\n        More.\\n    c: one.")
    'Args:\\n    a: both.\\n        More.\\n    b: both.\\n        More.\\n    c: one.'
    """
    found: list[str] = []
    lines = text.split("\n")
    inside: int | None = None
    while lines:
        line = lines.pop(0)
        header, shared = SECTION.fullmatch(line), SHARED.fullmatch(line)
        indent = len(line) - len(line.lstrip())
        if header:
            inside = len(header[1])
        elif line.strip() and inside is not None and indent <= inside:
            inside = None
        if inside is None or shared is None or indent != inside + 4:
            found.append(line)
            continue
        more = []
        while lines and len(lines[0]) - len(lines[0].lstrip()) > indent:
            more.append(lines.pop(0))
        for name in shared[2].split(", "):
            found += [f"{shared[1]}{name}{shared[3]}", *more]
    return "\n".join(found)


class SharedLines(Extension):
    """Rewrites each docstring before it is read."""

    def on_object(self, *, obj: Any, **kwargs: Any) -> None:
        """Called with each class, function and module."""
        docstring: Docstring | None = obj.docstring
        if docstring is not None:
            docstring.value = EXAMPLE.sub(r"\1Examples:", split_shared(docstring.value))
