"""Text to the words that BM25 counts; on the ground floor now, as the index counts the same ones."""

from ernie_search._util.words import UNSPACED, UNSPACED_RUN, words

__all__ = ["UNSPACED", "UNSPACED_RUN", "words"]
