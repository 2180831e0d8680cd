"""Long documents as overlapping passages, each a verbatim slice of its document."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ernie_search.errors import SettingsError
from ernie_search.types import Passage

LONGEST_WORD = 64
"""Characters after which text without spaces (a key, a protein, an address) is cut all the same."""

# Thai, Lao, Burmese, Khmer, Japanese and Chinese put no spaces between words: each character counts as one
NO_SPACES = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
UNIT = re.compile(rf"[{NO_SPACES}]|[^\s{NO_SPACES}]{{1,{LONGEST_WORD}}}")


def units(text: str) -> list[tuple[int, int]]:
    """Start and end, in characters, of what counts as one word.

    That is a stretch without white space of up to 64 characters, or one character of a script without spaces
    with the marks that belong to it.
    """
    found: list[tuple[int, int]] = []
    for match in UNIT.finditer(text):
        start, end = match.span()
        attached = found and found[-1][1] == start and unicodedata.category(text[start]).startswith("M")
        if attached and end - start == 1:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


def chunk_passage(passage: Passage, words: int, overlap: int) -> Iterator[Passage]:
    """The passage's slices, or the passage itself when it is short enough."""
    spans = units(passage.text)
    if len(spans) <= words:
        yield replace(passage, parent=passage.id, start=0)
        return
    number, first = 0, 0
    while True:
        last = min(first + words, len(spans))
        start, end = spans[first][0], spans[last - 1][1]
        yield Passage(
            f"{passage.id}#{number}",
            passage.text[start:end],
            passage.title,
            passage.fields,
            parent=passage.id,
            start=start,
        )
        if last == len(spans):
            return
        number, first = number + 1, first + words - overlap


def chunk_passages(passages: Iterable[Passage], words: int, overlap: int = 0) -> Iterator[Passage]:
    """Cut long passages into overlapping ones, streamed.

    Args:
        words: the longest passage, in words (in characters for scripts without spaces).
        overlap: words that a passage shares with the one before it.

    Returns:
        Passages with ``parent`` (the document's id) and ``start`` (character offset of the slice in the
        document's text). A cut one is called "doc#0", "doc#1", ...; one that was short enough keeps
        its id and is its own parent. Each text is ``document.text[start : start + len(text)]``.

    Raises:
        SettingsError: words below 1, or an overlap that is negative or not below words. At the call.
    """
    for name, value in (("words", words), ("overlap", overlap)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise SettingsError(f"chunking: {name} is {value!r}; give a whole number of words")
    if words < 1:
        raise SettingsError(f"chunking: words is {words}; give at least 1")
    if not 0 <= overlap < words:
        raise SettingsError(
            f"chunking: overlap is {overlap}; give 0 to {words - 1} (less than words, {words})"
        )
    return (chunk for passage in passages for chunk in chunk_passage(passage, words, overlap))
