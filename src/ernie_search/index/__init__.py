"""The index: finds passages by vector, words and fields, and gives what re-ranking and display need."""

from ernie_search.index.filters import And, Eq, Filter, In, Not, Or, Range, as_filter, parse_filter
from ernie_search.index.lance_files import is_index
from ernie_search.index.memory import MemoryIndex
from ernie_search.index.opening import index_shards, open_index
from ernie_search.index.protocol import Index, IndexStats, Origin, TokenMatrices
from ernie_search.index.rows import infer_fields, make_batch, passage_batch, shard_batch, shard_batches
from ernie_search.index.spec import IndexSpec, QdrantSettings, make_spec, spec_for
from ernie_search.index.topk import Ranking, reciprocal_rank
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
    "Not",
    "Or",
    "Origin",
    "QdrantSettings",
    "Range",
    "Ranking",
    "TokenMatrices",
    "Verification",
    "as_filter",
    "index_shards",
    "infer_fields",
    "is_index",
    "make_batch",
    "make_spec",
    "open_index",
    "parse_filter",
    "passage_batch",
    "reciprocal_rank",
    "shard_batch",
    "shard_batches",
    "spec_for",
    "verify",
]
