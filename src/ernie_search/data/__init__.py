"""What goes in: collections of passages and judged questions, their formats and their validation."""

from ernie_search.data.beir import BeirCollection, write_beir
from ernie_search.data.chunking import chunk_passages
from ernie_search.data.collection import Collection, CollectionInfo, MemoryCollection
from ernie_search.data.sources import open_collection
from ernie_search.data.validation import find_problems, validate

__all__ = [
    "BeirCollection",
    "Collection",
    "CollectionInfo",
    "MemoryCollection",
    "chunk_passages",
    "find_problems",
    "open_collection",
    "validate",
    "write_beir",
]
