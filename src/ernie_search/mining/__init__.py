"""Candidates by words, which needs no model; hard negatives from any system's run, as lists on disk."""

from ernie_search._util.words import words
from ernie_search.mining.bm25 import BM25
from ernie_search.mining.denoise import denoise
from ernie_search.mining.lists import Lists, ListSizes, TrainingList, write_lists
from ernie_search.mining.mine import mine_lists
from ernie_search.mining.negatives import MinedNegatives, mine_negatives
from ernie_search.mining.preview import preview
from ernie_search.mining.settings import DenoiseSettings, MineSettings

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
    "words",
    "write_lists",
]
