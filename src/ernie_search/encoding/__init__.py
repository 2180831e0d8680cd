"""Collection to resumable Parquet shards."""

from ernie_search.encoding.encode import EncodedCollection, encode_collection
from ernie_search.shards import read_manifest, read_shards

__all__ = ["EncodedCollection", "encode_collection", "read_manifest", "read_shards"]
