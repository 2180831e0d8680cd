"""Readers of source code: a Python file by its definitions, any other by what begins at its left edge."""

import ast
import json
from typing import Any

from ernie_search.data.files.document import Block, Document, Headings, UnreadableError
from ernie_search.data.files.markup import read_markdown, read_plain

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
CLOSING = (")", "]", "}", "end", "else", "elif", "except", "finally", "catch", "#endif")
"""What stands at the left edge and does not begin anything."""


def read_python(text: str) -> Document:
    """Functions, classes' heads and their methods, each with its name as its heading."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return read_code(text)
    lines, found = text.split("\n"), Document()
    _definitions(body, lines, 0, len(lines), (), found.blocks)
    return found


def _definitions(
    body: list[ast.stmt], lines: list[str], start: int, stop: int, path: tuple[str, ...], found: list[Block]
) -> None:
    """Blocks of the lines from ``start`` to ``stop``, of which ``body`` is what they say."""
    for one in body:
        if not isinstance(one, Definition):
            continue
        first = min([one.lineno, *(decorator.lineno for decorator in one.decorator_list)]) - 1
        while first > start and lines[first - 1].lstrip().startswith("#"):
            first -= 1
        end = one.end_lineno or one.lineno
        _keep(lines, start, first, path, found)
        inner = (*path, one.name)
        if isinstance(one, ast.ClassDef):
            _definitions(one.body, lines, first, end, inner, found)
        else:
            _keep(lines, first, end, inner, found)
        start = end
    _keep(lines, start, stop, path, found)


def _keep(lines: list[str], start: int, stop: int, path: tuple[str, ...], found: list[Block]) -> None:
    while start < stop and not lines[start].strip():
        start += 1
    text = "\n".join(line.rstrip() for line in lines[start:stop]).rstrip()
    if text:
        found.append(Block(text, path, start + 1, code=True))


def read_code(text: str) -> Document:
    """Blocks that begin at the left edge after a blank line."""
    lines, found, start = text.split("\n"), Document(), 0
    for place, line in enumerate(lines):
        begins = line[:1].strip() and not line.startswith(CLOSING)
        if place > start and begins and not lines[place - 1].strip():
            _keep(lines, start, place, (), found.blocks)
            start = place
    _keep(lines, start, len(lines), (), found.blocks)
    return found


def read_notebook(text: str) -> Document:
    """The cells of a Jupyter notebook, without what they printed.

    Raises:
        UnreadableError: it is no notebook.
    """
    try:
        content = json.loads(text)
        cells = content["cells"] if "cells" in content else content["worksheets"][0]["cells"]
        parts = [(str(cell["cell_type"]), _source(cell)) for cell in cells]
    except (KeyError, IndexError, TypeError, ValueError, RecursionError):
        raise UnreadableError("not a notebook") from None
    found, headings = Document(), Headings()
    for kind, source in parts:
        if kind == "markdown":
            part = read_markdown(source, headings)
            found.title = found.title or ("" if found.blocks else part.title)
        elif kind in ("code", "raw"):
            part = read_plain(source)
            part.blocks = [Block(source, headings.path, code=True)] if source.strip() else []
        else:
            continue
        # the lines of a cell are not those of the file, which nobody reads
        found.blocks += [Block(one.text, one.headings, code=one.code) for one in part.blocks]
    return found


def _source(cell: Any) -> str:
    source = cell.get("source", cell.get("input", ""))
    return source if isinstance(source, str) else "".join(source)
