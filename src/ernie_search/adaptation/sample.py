"""Passages drawn uniformly from a whole collection, and how rare its words are."""

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ernie_search._util.words import words
from ernie_search.adaptation.sentences import normal, parts
from ernie_search.types import Passage

COUNTED = 20_000
"""Passages, drawn likewise, whose words and sentences are counted."""
REPEATED = 3
"""Passages of these from which a sentence or a title is taken for boilerplate."""
COMMON = 2
"""Passages that a word is at least counted to be in: a slip of the pen is no rarer than a good name."""


def place(seed: int, *names: str) -> int:
    """A number from 0 to 2**64 that the seed and the names decide, on any machine."""
    text = "\t".join((str(seed), *names)).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def share(seed: int, *names: str) -> float:
    """The same as a number from 0 to 1."""
    return place(seed, *names) / 2**64


@dataclass
class Frequencies:
    """How many of ``passages`` have a word, a sentence, a title."""

    passages: int = 0
    words: Counter[str] = field(default_factory=Counter)
    sentences: Counter[int] = field(default_factory=Counter)
    titles: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, passages: Iterable[Passage]) -> "Frequencies":
        """Count them."""
        found = cls()
        for passage in passages:
            counted = [words(one) for one in parts(passage.text)]
            found.passages += 1
            found.words.update({word for some in counted for word in some})
            found.sentences.update({place(0, " ".join(some)) for some in counted})
            if passage.title:
                found.titles[normal(passage.title)] += 1
        return found

    def idf(self, key: str) -> float:
        """How rare a word is: 0 where every passage has it, 1 for the rarest that count."""
        there = min(max(self.words[key], COMMON), self.passages)
        most = math.log(max(self.passages, COMMON + 1) / COMMON)
        return math.log(max(self.passages, there) / there) / most

    def is_boilerplate(self, sentence: str) -> bool:
        """Whether several passages have this sentence."""
        return self.sentences[mark(sentence)] >= REPEATED

    def is_repeated_title(self, title: str) -> bool:
        """Whether several passages have this title."""
        return self.titles[normal(title)] >= REPEATED


@dataclass(frozen=True, slots=True)
class Sample:
    """Passages to ask about.

    Attributes:
        passages: in the order of the hash of seed and id, so that any first part is a uniform sample, too.
        total: passages of the collection.
        frequencies: of words, sentences and titles.
    """

    passages: Sequence[Passage]
    total: int
    frequencies: Frequencies


def draw(
    passages: Iterable[Passage], number: int, seed: int, progress: Callable[[int], None] | None = None
) -> Sample:
    """Draw ``number`` passages uniformly, in one reading; all where there are no more.

    Which are drawn depends on the seed and on each passage's id alone, not on the order of the source.

    Args:
        passages: of the whole collection.
        number: of passages to draw.
        seed: of the hash.
        progress: called with the number of passages read since its last call.
    """
    kept: list[tuple[int, int, Passage]] = []
    total, most = 0, max(number, COUNTED)
    for total, passage in enumerate(passages, 1):
        entry = (-place(seed, passage.id), -total, passage)
        if len(kept) < most:
            heapq.heappush(kept, entry)
        elif entry > kept[0]:
            heapq.heapreplace(kept, entry)
        if progress is not None:
            progress(1)
    ordered = [passage for _, _, passage in sorted(kept, key=lambda entry: (-entry[0], -entry[1]))]
    return Sample(ordered[:number], total, Frequencies.of(ordered[:COUNTED]))


def mark(text: str) -> int:
    """64 bits of a text's words."""
    return place(0, normal(text))
