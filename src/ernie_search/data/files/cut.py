"""A document as passages: whole paragraphs under one heading, up to so many words."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

from ernie_search.data.chunking import units
from ernie_search.data.files.document import Block, Document

WORDS = 200
"""Of a passage at most: with its title about 256 tokens, which small encoders read."""
PIECES_A_WORD = 1.2
"""Tokens that a plain English word makes, its share of the punctuation counted. Code, tables and addresses
make several times as many of a stretch without white space, and count as more words accordingly."""
PIECE = re.compile(r"[^\W\d_]+|\d|[^\w\s]|_")
LETTERS_A_PIECE = 7
"""On technical English the estimate is within 6 % of what BERT's tokenizer counts, for 19 of 20 passages."""

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
    """The document's passages, in its order; each of at most ``words`` words (see ``length_of``)."""
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
            yield text, line, length_of(text), joint
            joint = ""


def length_of(text: str) -> int:
    """Its words (see ``chunking.units``), or more where they are of the kind that makes many tokens."""
    return _length(text, len(units(text)))


def _length(text: str, words: int) -> int:
    pieces = sum(1 + (len(one) - 1) // LETTERS_A_PIECE for one in PIECE.findall(text))
    return max(words, round(pieces / PIECES_A_WORD))


def _split(
    text: str, words: int, edges: tuple[re.Pattern[str], ...], start: int = 0
) -> Iterator[tuple[int, str]]:
    """The text, or parts of it that are short enough, each with its place; together they are the text."""
    spans = units(text)
    length = _length(text, len(spans))
    if length <= words or (len(spans) < 2 and not edges):
        yield start, text
        return
    if not edges:  # one sentence or line without an end
        step = max(1, words * len(spans) // length)
        places = [spans[n][0] for n in range(step, len(spans), step)]
        rest: tuple[re.Pattern[str], ...] = ()
    else:
        places, rest = [match.end() for match in edges[0].finditer(text)], edges[1:]
    bounds = [0, *places, len(text)]
    for first, last in pairwise(bounds):
        if last > first:
            yield from _split(text[first:last], words, rest, start + first)
