"""Text to the words that BM25 counts, in any script."""

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


def words(text: str) -> list[str]:
    r"""The words of ``text``, lower-cased, in order, with repetitions.

    A word is a run of letters, digits and underscores (``\w+``) and of the marks that combine with them:
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
