"""Question to hits: vectors and words, late interaction, a cross-encoder, and why a passage was found."""

from ernie_search.index.maxsim import maxsim, maxsim_scores
from ernie_search.search.documents import (
    DocumentPart,
    Outline,
    UnknownPassageError,
    outline,
    read_around,
    read_document,
)
from ernie_search.search.explain import Explanation, TokenGrid, TokenMatch, explain
from ernie_search.search.fusion import DEFAULTS, Defaults, Fusion, Situation, TokenWeights
from ernie_search.search.highlight import WordMatch, mark, mark_hit, matching_words
from ernie_search.search.rerank import PairScorer, open_cross_encoder
from ernie_search.search.searcher import Searcher
from ernie_search.search.settings import Mode, SearchOptions, SearchSettings, best_mode
from ernie_search.search.tuning import Tuned, Tuning, read_tuned, reset_tuned, tune_weights, write_tuned

__all__ = [
    "DEFAULTS",
    "Defaults",
    "DocumentPart",
    "Explanation",
    "Fusion",
    "Mode",
    "Outline",
    "PairScorer",
    "SearchOptions",
    "SearchSettings",
    "Searcher",
    "Situation",
    "TokenGrid",
    "TokenMatch",
    "TokenWeights",
    "Tuned",
    "Tuning",
    "UnknownPassageError",
    "WordMatch",
    "best_mode",
    "explain",
    "mark",
    "mark_hit",
    "matching_words",
    "maxsim",
    "maxsim_scores",
    "open_cross_encoder",
    "outline",
    "read_around",
    "read_document",
    "read_tuned",
    "reset_tuned",
    "tune_weights",
    "write_tuned",
]
