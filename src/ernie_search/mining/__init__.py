"""Candidates and hard negatives, found by words: needs no model."""

from ernie_search.mining.bm25 import BM25
from ernie_search.mining.negatives import MinedNegatives, mine_negatives
from ernie_search.mining.words import words

__all__ = ["BM25", "MinedNegatives", "mine_negatives", "words"]
