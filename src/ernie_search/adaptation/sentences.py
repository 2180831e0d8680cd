"""A passage's text as sentences and words with their places: prose, code and tables, in any script."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ernie_search._util.words import UNSPACED, word_places, words

UNSPACED_CHARACTER = re.compile(f"[{UNSPACED}]")
SYLLABIC = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
"""Thai, Lao, Myanmar, Khmer: letters are sounds, some four to a word; of Han and Kana some two are."""
SIZE_SYLLABIC, SIZE_HAN = 0.25, 0.5
"""How much of a word a character of these scripts is."""

MARKS = ".!?\u2026\u0589\u061f\u06d4\u0964\u0965\u1362\u203c\u203d"
STOP = re.compile(
    rf"(?<![{MARKS}])[{MARKS}]+[\"'\u2019\u201d\u00bb)\]]*(?=\s|$)"
    r"|[\u3002\uff01\uff1f\uff0e\uff61]+[\"'\u201d\u300d\u300f\uff09]*"
    r"|\n\s*\n"
)
"""Where a sentence may end: marks of many scripts before white space, those of Han before anything, and
blank lines. A row of marks is tried from its first one alone, or a long one would take quadratic time."""
SHORT_FORM = re.compile(r"(?:^|[\s(\[])(?:\w|[A-Z]\w|Mrs|Prof|Figs?|Eqs?|Nos|(?:\w\.)+\w|vs|cf|al|pp)\.$")
"""What ends in a mark and ends no sentence: initials, ``Dr.``, ``e.g.``"""
LOWER_NEXT = re.compile(r"\s+[a-z\u00df-\u00f6\u00f8-\u00ff\u03b1-\u03c9\u0430-\u044f]")
STRUCTURED = re.compile(
    r"\t|\|.*\||^\s*(?:[-*+\u2022]|\d+[.)]|#+|//|>>>|\$)\s|^(?: {4}|\t)"
    r"|[;{}]\s*$|^\s*[}\])]|\w\(|\w ?:?==? ?\S"
)
"""A line that is a row of a table, an item of a list, a heading or code: it ends where it ends."""
CODE_MARKS = re.compile(r"[{}();=<>\[\]_|\\]")
CODE_SHARE = 0.04
"""Share of such marks among the characters from which a text is taken for code or a table."""

MARKUP = re.compile(r"[|`]+|\*\*+|^[^\S\n]*(?:#{1,6}|>{1,3}|[-*+\u2022]|\d+[.)])\s+", re.MULTILINE)
"""What only draws a text: bars of tables, quotes of code, stars, and what begins a heading or an item. The
blanks before that are those of its line: of many empty lines, each would be tried up to the last one."""

LONGEST_WORD = 30
"""Characters; what is longer is an address, a key or a protein."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word where it stands.

    Attributes:
        start, end: in characters of the sentence's text.
        key: by which passages that have it are counted.
        size: 1; of a script without spaces, the part of a word that a character is.
        telling: whether it has a letter, and is no address or key.
    """

    start: int
    end: int
    key: str
    size: float
    telling: bool


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, a line of code or a row of a table, with its words."""

    text: str
    words: tuple[Word, ...]

    @property
    def size(self) -> float:
        """Its length in words."""
        return sum(word.size for word in self.words)

    def slice(self, first: int, last: int) -> str:
        """The text from the first of its words to the last of them, without what only draws it."""
        return plain(self.text[self.words[first].start : self.words[last].end])


def plain(text: str) -> str:
    """A text on one line, without markup."""
    return " ".join(MARKUP.sub(" ", text).split())


def sentences(text: str) -> list[Sentence]:
    """The sentences of a text, in order; those without a word are left out.

    Prose ends at its marks and at blank lines, wherever its lines are broken; code, tables and lists end
    at each line.
    """
    made = (_sentence(part) for part in parts(text))
    return [one for one in made if one.words]


def joined(some: Sequence[Sentence]) -> Sentence:
    """Several as one, for texts whose lines are too short to ask about: most code and tables."""
    return _sentence(" ".join(one.text for one in some))


def normal(text: str) -> str:
    """A text as its words, by which equal ones are found."""
    return " ".join(words(text))


def parts(text: str) -> Iterator[str]:
    """The texts of the sentences, white space around them and all; see ``sentences``."""
    is_code = len(CODE_MARKS.findall(text)) > CODE_SHARE * max(len(text), 1)
    block: list[str] = []
    for line in text.splitlines():
        alone = is_code or STRUCTURED.search(line) is not None
        if alone or not line.strip():
            yield from _stops("\n".join(block))
            block = []
            if line.strip():
                yield from (line,) if is_code else _stops(line)
        else:
            block.append(line)
    yield from _stops("\n".join(block))


def _stops(text: str) -> Iterator[str]:
    """A block of prose, cut where its sentences end."""
    start = 0
    for match in STOP.finditer(text):
        if match.group()[0] in ".\u2026":
            if SHORT_FORM.search(text[max(start, match.end() - 12) : match.end()]):
                continue
            if LOWER_NEXT.match(text, match.end()):
                continue
        yield text[start : match.end()]
        start = match.end()
    if start < len(text):
        yield text[start:]


def _sentence(text: str) -> Sentence:
    text = text.strip()
    return Sentence(text, tuple(_words(text)))


def _words(text: str) -> Iterator[Word]:
    places = word_places(text)
    for number, (start, end) in enumerate(places):
        own = text[start:end]
        if not own.isascii() and UNSPACED_CHARACTER.match(own):
            key = _pair(text, places, number) or _pair(text, places, number - 1) or own
            size = SIZE_SYLLABIC if SYLLABIC.match(own) else SIZE_HAN
            yield Word(start, end, key, size, True)
            continue
        key = own.lower() if own.isascii() else "".join(words(own)) or own
        telling = end - start <= LONGEST_WORD and any(character.isalpha() for character in own)
        yield Word(start, end, key, 1.0, telling)


def _pair(text: str, places: Sequence[tuple[int, int]], number: int) -> str:
    """Two neighbouring characters of a script without spaces as one word, as ``words`` counts them; or ""."""
    if not 0 <= number < len(places) - 1 or places[number][1] != places[number + 1][0]:
        return ""
    start, end = places[number][0], places[number + 1][1]
    found = words(text[start:end])
    return found[0] if len(found) == 1 else ""
