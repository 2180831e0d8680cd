"""Question to hits: vectors and words, late interaction, a cross-encoder, and why a passage was found."""

from ernie_search.index.maxsim import maxsim, maxsim_scores
from ernie_search.search.explain import Explanation, TokenGrid, TokenMatch, explain
from ernie_search.search.fusion import Fusion, tune_weights
from ernie_search.search.highlight import WordMatch, mark, mark_hit, matching_words
from ernie_search.search.rerank import PairScorer, open_cross_encoder
from ernie_search.search.searcher import Searcher
from ernie_search.search.settings import Mode, SearchOptions, SearchSettings, best_mode
from ernie_search.search.token_weights import TokenWeights

__all__ = [
    "Explanation",
    "Fusion",
    "Mode",
    "PairScorer",
    "SearchOptions",
    "SearchSettings",
    "Searcher",
    "TokenGrid",
    "TokenMatch",
    "TokenWeights",
    "WordMatch",
    "best_mode",
    "explain",
    "mark",
    "mark_hit",
    "matching_words",
    "maxsim",
    "maxsim_scores",
    "open_cross_encoder",
    "tune_weights",
]
