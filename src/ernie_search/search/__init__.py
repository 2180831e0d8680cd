"""Question to hits: dense first stage, late-interaction re-rank, and why a passage was found."""

from ernie_search.search.highlight import WordMatch, mark, mark_hit, matching_words
from ernie_search.search.rerank import maxsim, maxsim_scores
from ernie_search.search.searcher import Mode, Searcher

__all__ = ["Mode", "Searcher", "WordMatch", "mark", "mark_hit", "matching_words", "maxsim", "maxsim_scores"]
