"""Text to the words that BM25 counts, in any script, and to what a terminal may be given of it."""

import re
import sys
import unicodedata
from functools import lru_cache

UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u3005-\u3007"  # 々 and 〇
    "\u3040-\u30ff\u31f0-\u31ff"  # Hiragana, Katakana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\U00020000-\U0003ffff"  # Han, rarer characters
)
"""Ranges of the scripts that are written without spaces between words (Korean has spaces)."""

UNSPACED_RUN = re.compile(f"([{UNSPACED}]+)")
ASCII_WORD = re.compile(r"[a-z0-9_]+")

LINE_ENDS = "\n\u2028\u2029"
BLANKS = "\r\x0b\x0c"
"""They move a terminal's cursor, which would hide what stands before them."""
NOT_PRINTED = re.compile(
    r"[\x00-\x1f\x7f-\x9f"  # C0 and C1 controls
    r"\u2028\u2029"  # line and paragraph separator
    r"\u202a-\u202e\u2066-\u2069"  # embeddings, overrides and isolates of bidirectional text
    r"\ud800-\udfff]"  # halves of surrogate pairs, which no encoding writes
)
TAB = "    "


def words(text: str) -> list[str]:
    r"""The words of ``text``, lower-cased, in order, with repetitions.

    A word is a sequence of letters, digits and underscores (``\w+``) and of the marks that combine with them:
    Python's ``\w`` alone cuts Hindi and Thai words at their vowel signs. Where a script puts no spaces
    between words, each pair of neighbouring characters is a word (the yardstick in the data's README,
    and Lucene's CJK analyser); a single character is one by itself. Compatibility forms are made equal
    (NFKC), so that one word written in two ways is counted as one. There is no stemming.
    """
    if text.isascii():
        return ASCII_WORD.findall(text.lower())
    found: list[str] = []
    for word in _word_pattern().findall(unicodedata.normalize("NFKC", text).lower()):
        if word.isascii():
            found.append(word)
            continue
        # splitting at a captured group: spaced and unspaced parts take turns, either may be empty
        for number, part in enumerate(UNSPACED_RUN.split(word)):
            if number % 2 == 0 or len(part) == 1:
                found += [part] if part else []
            else:
                found += [part[i : i + 2] for i in range(len(part) - 1)]
    return found


def question_words(text: str, language: str = "none") -> list[str]:
    """The words that BM25 looks for, made as those of the passages are.

    Args:
        language: of the collection; "none" takes words as they stand.
    """
    return words(text)


def printable(text: str, *, one_line: bool = False) -> str:
    r"""The text as a terminal may show it, its control characters as escapes such as ``\x1b``.

    Escaped are the C0 and C1 controls, the controls that reorder bidirectional text, and halves of surrogate
    pairs. Line ends stay, a tab becomes four spaces, and carriage return, vertical tab and form feed become
    a space. Each character is replaced by itself, whatever its neighbours are, so that
    ``printable(a + b) == printable(a) + printable(b)``: a place in ``text`` is the length of what is printed
    before it. The result is left alone by a second call.

    Args:
        one_line: line ends and tabs become a space each.
    """
    if text.isascii() and text.isprintable():
        return text
    return NOT_PRINTED.sub(_shown_in_line if one_line else _shown, text)


LONGEST_SHOWN = 80
"""Characters of a value that ``brief`` keeps."""


def brief(value: object) -> str:
    """The beginning of a value on one line, as an error message repeats it: a request's may have any size."""
    if isinstance(value, int) and abs(value) >= 10**LONGEST_SHOWN:
        return "a huge number"  # of more than 4,300 digits Python writes none
    text = value[: LONGEST_SHOWN + 1] if isinstance(value, str) else repr(value)
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def _shown(match: re.Match[str]) -> str:
    """What stands for a character that is not printed as it is."""
    character = match.group()
    if character in LINE_ENDS:
        return "\n"
    if character == "\t":
        return TAB
    return " " if character in BLANKS else character.encode("unicode_escape").decode("ascii")


def _shown_in_line(match: re.Match[str]) -> str:
    shown = _shown(match)
    return " " if shown.isspace() else shown


@lru_cache(maxsize=1)
def _word_pattern() -> re.Pattern[str]:
    r"""A ``\w`` and then any of ``\w`` or a combining mark (Unicode categories Mn, Mc, Me)."""
    ranges: list[tuple[int, int]] = []
    for code in range(0x300, sys.maxunicode + 1):
        if 0x20000 <= code < 0xE0000:  # Han, unassigned and no marks: two thirds of all code points
            continue
        if unicodedata.category(chr(code))[0] == "M":
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1] = (ranges[-1][0], code)
            else:
                ranges.append((code, code))
    marks = "".join(f"{chr(low)}-{chr(high)}" for low, high in ranges)
    return re.compile(rf"\w[\w{marks}]*")
