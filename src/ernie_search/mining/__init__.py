"""BM25, and hard negatives from any run as training lists on disk; no model is needed."""

from ernie_search.mining.bm25 import BM25
from ernie_search.mining.denoise import DenoiseSettings, denoise
from ernie_search.mining.lists import Lists, ListSizes, TrainingList, preview, write_lists
from ernie_search.mining.mine import MineSettings, mine_lists
from ernie_search.mining.negatives import MinedNegatives, mine_negatives

__all__ = [
    "BM25",
    "DenoiseSettings",
    "ListSizes",
    "Lists",
    "MineSettings",
    "MinedNegatives",
    "TrainingList",
    "denoise",
    "mine_lists",
    "mine_negatives",
    "preview",
    "write_lists",
]
