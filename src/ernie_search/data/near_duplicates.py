"""Groups of texts that say nearly the same, so that a split never tests what another one taught."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import ceil

GRAM = 4
"""Words per shingle."""

THRESHOLD = 0.5
"""Two texts are near-duplicates when their shingle sets have a Jaccard similarity above this."""


class UnionFind:
    """Sets of the numbers 0..n-1; a set's representative is its smallest member."""

    def __init__(self, size: int) -> None:
        self.parent = list(range(size))

    def find(self, item: int) -> int:
        """The representative of the item's set."""
        while self.parent[item] != item:
            self.parent[item] = self.parent[self.parent[item]]
            item = self.parent[item]
        return item

    def union(self, a: int, b: int) -> None:
        """Join the sets of two items."""
        a, b = self.find(a), self.find(b)
        self.parent[max(a, b)] = min(a, b)


def shingles(text: str, size: int = GRAM) -> set[tuple[str, ...]]:
    """The text's runs of ``size`` words, lower-cased."""
    words = text.lower().split()
    return {tuple(words[i : i + size]) for i in range(len(words) - size + 1)}


def jaccard(a: set[int], b: set[int]) -> float:
    """Shared members over all members; 0 for two empty sets."""
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared) if shared else 0.0


def near_duplicate_pairs(texts: Sequence[str], threshold: float = THRESHOLD) -> list[tuple[int, int]]:
    """All pairs (i, j), i < j, whose 4-gram Jaccard similarity is above the threshold. Exact.

    Two sets can only be that alike if they share one of their rarest ``n - ceil(threshold n) + 1`` members
    (prefix filtering: Bayardo, Ma and Srikant 2007, "Scaling up all pairs similarity search"), so only
    pairs that meet in an inverted index of those are compared.
    """
    numbers: dict[tuple[str, ...], int] = {}
    sets = [{numbers.setdefault(gram, len(numbers)) for gram in sorted(shingles(text))} for text in texts]
    frequency = Counter(gram for grams in sets for gram in grams)
    index: dict[int, list[int]] = defaultdict(list)
    pairs: list[tuple[int, int]] = []
    for here, grams in enumerate(sets):
        rare_first = sorted(grams, key=lambda gram: (frequency[gram], gram))
        prefix = rare_first[: len(grams) - ceil(threshold * len(grams)) + 1]
        candidates = {there for gram in prefix for there in index[gram]}
        pairs += [(there, here) for there in sorted(candidates) if jaccard(sets[there], grams) > threshold]
        for gram in prefix:
            if frequency[gram] > 1:
                index[gram].append(here)
    return sorted(pairs)


def clusters(texts: Sequence[str], threshold: float = THRESHOLD) -> list[int]:
    """For each text, the index of the first text of its group; groups are chains of near-duplicates."""
    sets = UnionFind(len(texts))
    for a, b in near_duplicate_pairs(texts, threshold):
        sets.union(a, b)
    return [sets.find(i) for i in range(len(texts))]
