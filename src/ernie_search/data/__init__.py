"""Collections of passages and judged questions: their formats, checks and statistics."""

from ernie_search.data.beir import BeirCollection
from ernie_search.data.chunking import chunk_passages
from ernie_search.data.collection import Collection, MemoryCollection
from ernie_search.data.convert import Conversion, convert, write_beir
from ernie_search.data.questions import read_answers, read_queries
from ernie_search.data.sources import open_collection
from ernie_search.data.stats import Stats, collection_stats, token_lengths
from ernie_search.data.validation import CollectionInfo, find_problems, inspect_collection, validate

__all__ = [
    "BeirCollection",
    "Collection",
    "CollectionInfo",
    "Conversion",
    "MemoryCollection",
    "Stats",
    "chunk_passages",
    "collection_stats",
    "convert",
    "find_problems",
    "inspect_collection",
    "open_collection",
    "read_answers",
    "read_queries",
    "token_lengths",
    "validate",
    "write_beir",
]
