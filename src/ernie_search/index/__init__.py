"""Stores that find passages by vector and hand out what re-ranking and display need."""

from ernie_search.index.memory import MemoryIndex
from ernie_search.index.protocol import Index, IndexStats, Ranking, TokenMatrices

__all__ = ["Index", "IndexStats", "MemoryIndex", "Ranking", "TokenMatrices"]
