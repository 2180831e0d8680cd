"""Questions made from a passage by rules: no model, any language, code and tables too.

What stands in a passage is asked for, and the passage is the answer, as in the inverse cloze task (Lee et al.
2019, "Latent retrieval for weakly supervised open domain question answering").
"""

import math
import random
import re
from collections.abc import Callable, Iterator, Sequence

from ernie_search.adaptation.questions import Kind, Question, Split
from ernie_search.adaptation.sample import Frequencies, place, share
from ernie_search.adaptation.sentences import Sentence, Word, joined, normal, plain, sentences
from ernie_search.adaptation.settings import QuestionSettings
from ernie_search.types import Passage

SPAN = (5, 12)
"""Words of a span, least and most."""
CLOZE = (8, 20)
"""Words of a sentence, or of a part of a longer one, from which some are left out."""
KEYWORDS = (2, 6)
LONGEST_TITLE = 20
LEAST_WORDS = 5
"""Words of a passage that can be asked about: of a shorter one a question would be a copy."""
DRAWS = 6
"""Places of a passage that are drawn for a question; the one with the rarest words is taken."""
AGAIN = 3
"""Draws for a question that came before."""
GAPS = 3
"""A cloze question leaves out one of so many rarest words."""
FEWEST_RARE = 8
"""Keywords are drawn from the rarest third of a passage's words, and from so many at least."""
LEAST_IDF = 0.05
"""Of a word that every passage has: drawn where there are no others."""
GAP = "\u2026"
"""What stands for it: no word, so BM25 does not count it."""
LEAST_TELLING = 0.5
"""Share of a question's words that have letters."""
HEADING = re.compile(r"^[^\S\n]{0,3}#{1,6}[^\S\n]+(\S.*)$", re.MULTILINE)
"""Up to the end of its line: an expression that left out the blanks and ``#`` there would take cubic time."""
LEVELS = " > "
"""Between the headings of a title, as documents are read."""
CHARACTERS_HAN, CHARACTERS_SYLLABIC = 2, 6
"""Characters of a keyword in scripts without spaces."""


class Rules:
    """Makes questions of passages; what it makes of one depends on the seed and that passage's id and text.

    Args:
        settings: which questions are wanted.
        frequencies: how rare words are in the collection.
    """

    def __init__(self, settings: QuestionSettings, frequencies: Frequencies) -> None:
        self.settings, self.frequencies = settings, frequencies
        self._makers: dict[Kind, Callable[[_Text, random.Random], str]] = {
            "span": self._span,
            "cloze": self._cloze,
            "keywords": self._keywords,
            "title": self._title,
        }

    def split_of(self, passage: Passage) -> Split:
        """What the passage's questions are for."""
        drawn = share(self.settings.seed, "held-out", passage.id)
        return "held-out" if drawn < self.settings.held_out else "train"

    def ask(self, passage: Passage) -> list[Question]:
        """The passage's questions: ``per_passage``, or as many that differ as its text gives."""
        seed, text = self.settings.seed, _Text(passage)
        if text.size < LEAST_WORDS:
            return []
        split = self.split_of(passage)
        kinds = (self.settings.held_out_kind,) if split == "held-out" else self.settings.trained_kinds
        first = place(seed, "kind", passage.id)
        made: dict[str, Question] = {}
        for number in range(self.settings.per_passage):
            turn = [kinds[(first + number + step) % len(kinds)] for step in range(len(kinds))]
            for kind, asked in self._attempts(text, turn, number):
                if normal(asked) not in made and normal(asked) != text.whole:
                    made[normal(asked)] = Question(asked, passage.id, kind, seed, split=split)
                    break
            else:
                break
        return list(made.values())

    def _attempts(self, text: "_Text", kinds: Sequence[Kind], number: int) -> Iterator[tuple[Kind, str]]:
        for kind in kinds:
            for again in range(AGAIN):
                names = (text.passage.id, kind, str(number), str(again))
                asked = self._makers[kind](text, random.Random(place(self.settings.seed, *names)))
                if asked and normal(asked):
                    yield kind, asked

    def _span(self, text: "_Text", draw: random.Random) -> str:
        window = self._window(text, draw, *SPAN)
        return "" if window is None else window[0].slice(*window[1:])

    def _cloze(self, text: "_Text", draw: random.Random) -> str:
        window = self._window(text, draw, *CLOZE)
        if window is None:
            return ""
        sentence, first, last = window
        inside = sentence.words[first : last + 1]
        rare = sorted({one.key for one in inside if one.telling}, key=lambda key: (-self._idf(key), key))
        if not rare:
            return ""
        gone = rare[_below(draw, min(GAPS, len(rare)))]
        out = [one.key == gone for one in inside]
        for number in range(1, len(out)):  # of a script without spaces a key is two characters
            out[number] = out[number] or (inside[number - 1].key == gone and inside[number].size < 1)
        parts, start = [], None
        for number, is_out in enumerate([*out, True]):
            if is_out and start is not None:
                parts.append(sentence.slice(first + start, first + number - 1))
                start = None
            elif not is_out and start is None:
                start = number
        left = sum(one.size for one, is_out in zip(inside, out, strict=True) if not is_out)
        return f" {GAP} ".join(part for part in parts if part) if left >= LEAST_WORDS else ""

    def _keywords(self, text: "_Text", draw: random.Random) -> str:
        found: dict[str, tuple[int, int, int]] = {}
        for row, sentence in enumerate(text.sentences):
            if self.frequencies.is_boilerplate(sentence.text) and not text.is_boilerplate(self.frequencies):
                continue
            for number, word in enumerate(sentence.words):
                if word.telling and (word.size < 1 or word.end - word.start > 1):
                    _, _, times = found.get(word.key, (0, 0, 0))
                    found.setdefault(word.key, (row, number, 1))
                    found[word.key] = (*found[word.key][:2], times + 1)
        weights = {
            key: max(self._idf(key), LEAST_IDF) ** 2 * (1 + math.log(times))
            for key, (_, _, times) in found.items()
        }
        rarest = sorted(weights, key=lambda key: (-weights[key], key))
        weights = {key: weights[key] for key in rarest[: max(FEWEST_RARE, len(rarest) // 3)]}
        # a draw without replacement (Efraimidis and Spirakis 2006): the least of exponential waiting times
        waits = {key: -math.log(1 - draw.random()) / weight for key, weight in weights.items()}
        wanted = KEYWORDS[0] + _below(draw, KEYWORDS[1] - KEYWORDS[0] + 1)
        chosen: list[tuple[int, int, int]] = []
        for key in sorted(waits, key=lambda key: (waits[key], key)):
            row, number, _ = found[key]
            stop = _run(text.sentences[row].words, number)
            if not any(row == r and number < e and s < stop for r, s, e in chosen):
                chosen.append((row, number, stop))
            if len(chosen) == wanted:
                break
        if len(chosen) < KEYWORDS[0]:
            return ""
        return " ".join(text.sentences[row].slice(start, stop - 1) for row, start, stop in sorted(chosen))

    def _title(self, text: "_Text", draw: random.Random) -> str:
        passage = text.passage
        own = " ".join(passage.title.split(LEVELS)[-2:])
        headings = [match.group(1).rstrip().rstrip("#").rstrip() for match in HEADING.finditer(passage.text)]
        usable = [
            plain(one) for one in (own, *headings) if one.strip() and not self.frequencies.is_boilerplate(one)
        ]
        if usable and own.strip() and self.frequencies.is_repeated_title(passage.title):
            usable = usable[1:]
        fitting = [one for one in usable if _is_title(one)]
        return fitting[_below(draw, len(fitting))] if fitting else ""

    def _window(
        self, text: "_Text", draw: random.Random, least: int, most: int
    ) -> tuple[Sentence, int, int] | None:
        """The best of some parts of sentences: sentence, first and last word."""
        own = [one for one in text.sentences if one.size >= least]
        usable = [one for one in own if not self.frequencies.is_boilerplate(one.text)] or own
        if not usable and text.size >= least:
            usable = [joined(text.sentences)]
        best: tuple[float, Sentence, int, int] | None = None
        for _ in range(DRAWS if usable else 0):
            sentence = _drawn(usable, draw)
            first, last = _part(sentence.words, least + draw.random() * (most - least), draw)
            inside = sentence.words[first : last + 1]
            telling = sum(one.size for one in inside if one.telling)
            size = sum(one.size for one in inside)
            if size < least or telling < LEAST_TELLING * size:
                continue
            score = sum(self._idf(one.key) * one.size for one in inside) / size
            score *= 1 - text.asked_share(sentence, first, last)
            if best is None or score > best[0]:
                best = (score, sentence, first, last)
        if best is None:
            return None
        text.asked.append(best[1:])
        return best[1:]

    def _idf(self, key: str) -> float:
        return self.frequencies.idf(key)


class _Text:
    """A passage with its sentences."""

    def __init__(self, passage: Passage) -> None:
        self.passage = passage
        self.sentences = sentences(passage.text)
        self.size = sum(one.size for one in self.sentences)
        self.whole = normal(passage.text)
        self.asked: list[tuple[Sentence, int, int]] = []
        self._alike: bool | None = None

    def asked_share(self, sentence: Sentence, first: int, last: int) -> float:
        """The largest share of a part that an earlier question has, too."""
        shared = (min(last, end) - max(first, start) + 1 for one, start, end in self.asked if one is sentence)
        return max([0, *shared]) / (last - first + 1)

    def is_boilerplate(self, frequencies: Frequencies) -> bool:
        """Whether all of it is."""
        if self._alike is None:
            self._alike = all(frequencies.is_boilerplate(one.text) for one in self.sentences)
        return self._alike


def _below(draw: random.Random, number: int) -> int:
    """A number from 0 to below ``number``."""
    return int(draw.random() * number)


def _drawn(some: Sequence[Sentence], draw: random.Random) -> Sentence:
    """One of them, a longer one more often."""
    left = draw.random() * sum(one.size for one in some)
    for one in some:
        left -= one.size
        if left < 0:
            return one
    return some[-1]


def _part(words: Sequence[Word], size: float, draw: random.Random) -> tuple[int, int]:
    """First and last word of a part of this size; of the whole, where that is shorter."""
    sizes = [word.size for word in words]
    latest, behind = len(words) - 1, 0.0
    while latest > 0 and behind + sizes[latest] < size:  # where a part still has its size
        behind += sizes[latest]
        latest -= 1
    first = last = _below(draw, latest + 1)
    length = sizes[first]
    while last + 1 < len(words) and length + sizes[last + 1] <= size:
        last += 1
        length += sizes[last]
    return first, last


def _run(words: Sequence[Word], first: int) -> int:
    """The word after a keyword that begins at ``first``: some characters in scripts without spaces."""
    if words[first].size == 1:
        return first + 1
    most = CHARACTERS_HAN if words[first].size > 0.25 else CHARACTERS_SYLLABIC
    stop = first + 1
    while stop < len(words) and stop - first < most and words[stop].start == words[stop - 1].end:
        if words[stop].size != words[first].size:
            break
        stop += 1
    return stop


def _is_title(text: str) -> bool:
    found = sentences(text)
    size = sum(one.size for one in found)
    return 0 < size <= LONGEST_TITLE and any(word.telling for one in found for word in one.words)
