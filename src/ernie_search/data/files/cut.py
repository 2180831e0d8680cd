"""A document as passages: whole paragraphs under one heading, up to so many words."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

from ernie_search.data.chunking import units
from ernie_search.data.files.document import Block, Document

WORDS = 200
"""Of a passage at most: about 256 tokens of English, what small encoders read."""

SENTENCE = re.compile(r"(?<=[.!?…])[\"')\]]*\s+(?=[\"'(\[]?[^\W\d_a-z]|\d)|(?<=[。！？])|\n\s*\n")
LISTED = re.compile(r"\s*(?:[|*+-]|\d+[.)])\s?")
BLANK, LINE = re.compile(r"\n(?:[ \t]*\n)+"), re.compile(r"\n")


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage's text and place; see ``Block``."""

    text: str
    headings: tuple[str, ...]
    line: int | None
    page: int | None


def cut(document: Document, words: int = WORDS) -> Iterator[Piece]:
    """The document's passages, in its order; each of at most ``words`` words (see ``chunking.units``)."""
    for (headings, page), blocks in groupby(document.blocks, lambda one: (one.headings, one.page)):
        held: list[str] = []
        line: int | None = None
        size = 0
        for text, at, length, joint in _parts(blocks, words):
            if held and size + length > words:
                yield Piece("".join(held).strip("\n"), headings, line, page)
                held, size = [], 0
            if not held:
                line = at
            held += [joint if held else "", text]
            size += length
        if held:
            yield Piece("".join(held).strip("\n"), headings, line, page)


def _parts(blocks: Iterator[Block], words: int) -> Iterator[tuple[str, int | None, int, str]]:
    """Text of at most ``words`` words, its line, its words, and what stands before it in its passage."""
    for block in blocks:
        joint = "\n\n"
        edges = (BLANK, LINE) if block.code else (SENTENCE, LINE)
        if LISTED.match(block.text):  # a list or a table, whose lines are whole
            edges = (LINE, SENTENCE)
        for start, text in _split(block.text, words, edges):
            lead = len(text) - len(text.lstrip("\n"))
            line = None if block.line is None else block.line + block.text.count("\n", 0, start + lead)
            yield text, line, len(units(text)), joint
            joint = ""


def _split(
    text: str, words: int, edges: tuple[re.Pattern[str], ...], start: int = 0
) -> Iterator[tuple[int, str]]:
    """The text, or parts of it that are short enough, each with its place; together they are the text."""
    spans = units(text)
    if len(spans) <= words:
        yield start, text
        return
    if not edges:  # one sentence or line without an end
        places = [spans[n][0] for n in range(words, len(spans), words)]
        rest: tuple[re.Pattern[str], ...] = ()
    else:
        places, rest = [match.end() for match in edges[0].finditer(text)], edges[1:]
    bounds = [0, *places, len(text)]
    for first, last in pairwise(bounds):
        if last > first:
            yield from _split(text[first:last], words, rest, start + first)
