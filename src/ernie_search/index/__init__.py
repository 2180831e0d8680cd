"""Stores that find passages by vector, words and fields, and hand out what re-ranking and display need."""

from ernie_search.index.filters import And, Eq, Filter, In, Not, Or, Range, parse_filter
from ernie_search.index.fuse import reciprocal_rank
from ernie_search.index.ingest import build_store
from ernie_search.index.lance_files import is_store
from ernie_search.index.memory import MemoryIndex
from ernie_search.index.memory_store import MemoryStore
from ernie_search.index.opening import open_index, recorded_model
from ernie_search.index.protocol import Index, IndexStats, Ranking, TokenMatrices
from ernie_search.index.renewing import check_files, reopened
from ernie_search.index.rows import infer_fields, make_batch, passage_batch, shard_batch, shard_batches
from ernie_search.index.spec import IndexSpec, QdrantSettings, make_spec, spec_for
from ernie_search.index.store import Store, StoreStats
from ernie_search.index.verify import Verification, verify

__all__ = [
    "And",
    "Eq",
    "Filter",
    "In",
    "Index",
    "IndexSpec",
    "IndexStats",
    "MemoryIndex",
    "MemoryStore",
    "Not",
    "Or",
    "QdrantSettings",
    "Range",
    "Ranking",
    "Store",
    "StoreStats",
    "TokenMatrices",
    "Verification",
    "build_store",
    "check_files",
    "infer_fields",
    "is_store",
    "make_batch",
    "make_spec",
    "open_index",
    "parse_filter",
    "passage_batch",
    "reciprocal_rank",
    "recorded_model",
    "reopened",
    "shard_batch",
    "shard_batches",
    "spec_for",
    "verify",
]
