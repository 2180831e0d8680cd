"""A document as passages: whole paragraphs under one heading, up to so many words."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

from ernie_search.data.chunking import LONGEST_WORD, NO_SPACES
from ernie_search.data.files.document import Block, Document

WORDS = 200
"""Of a passage and its headings at most: 240 parts, which is what small encoders read (256 tokens)."""
PARTS_A_WORD = 1.2
PART = re.compile(rf"[{NO_SPACES}]|[^\W\d_{NO_SPACES}]{{1,7}}|\d{{1,3}}|[^\w\s]|_")
"""About a token of all-MiniLM-L6-v2: up to seven letters, three digits, or one mark. It has 1.00 tokens a
part in this project's documentation, 1.07 in its code, 0.92 in SQuAD. Words alone mislead: 1.9 tokens a word
there, 2.8, 1.3."""

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
    """The document's passages, in its order, each short enough with the document's title and its headings.

    Args:
        document: as a reader gave it.
        words: of a passage at most, of ``PARTS_A_WORD`` parts each; headings take at most half of that.
    """
    for (headings, page), blocks in groupby(document.blocks, lambda one: (one.headings, one.page)):
        most = max(1, int(words * PARTS_A_WORD))
        most = max(1, most // 2, most - len(PART.findall(" > ".join([document.title, *headings]))))
        held: list[str] = []
        line: int | None = None
        size = 0
        for text, at, length, joint in _parts(blocks, most):
            if held and size + length > most:
                yield Piece("".join(held).strip("\n"), headings, line, page)
                held, size = [], 0
            if not held:
                line = at
            held += [joint if held else "", text]
            size += length
        if held:
            yield Piece("".join(held).strip("\n"), headings, line, page)


def _parts(blocks: Iterator[Block], most: int) -> Iterator[tuple[str, int | None, int, str]]:
    """Text of at most ``most`` parts, its line, its parts, and what stands before it in its passage."""
    for block in blocks:
        joint = "\n\n"
        edges = (BLANK, LINE) if block.code else (SENTENCE, LINE)
        if LISTED.match(block.text):  # a list or a table, whose lines are whole
            edges = (LINE, SENTENCE)
        line, counted = block.line, 0  # line breaks are counted from piece to piece, each once
        for start, text in _split(block.text, most, edges):
            first = start + len(text) - len(text.lstrip("\n"))
            if line is not None:
                line += block.text.count("\n", counted, first)
                counted = first
            yield text, line, len(PART.findall(text)), joint
            joint = ""


def _split(
    text: str, most: int, edges: tuple[re.Pattern[str], ...], start: int = 0
) -> Iterator[tuple[int, str]]:
    """The text, or pieces of it that are short enough, each with its place; together they are the text."""
    places = [match.start() for match in PART.finditer(text)]
    if len(places) <= most:
        yield start, text
        return
    rest: tuple[re.Pattern[str], ...] = ()
    if edges:
        places, rest = [match.end() for match in edges[0].finditer(text)], edges[1:]
    else:  # one sentence or line without an end: between words where there are any
        places = [_word_start(text, place) for place in places[most::most]]
    bounds = sorted({0, *places, len(text)})
    for first, last in pairwise(bounds):
        yield from _split(text[first:last], most, rest, start + first)


def _word_start(text: str, place: int) -> int:
    """The beginning of the word that holds ``place``, if it is near; else ``place``."""
    found = max(text.rfind(space, max(0, place - LONGEST_WORD), place) for space in " \t\n")
    return found + 1 if found >= 0 else place
