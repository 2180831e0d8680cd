"""Collection to resumable Parquet shards (``encode.py``), and to an index (``build.py``)."""

from ernie_search.encoding.encode import EncodedCollection, encode_collection
from ernie_search.shards import read_manifest, read_shards

__all__ = ["EncodedCollection", "encode_collection", "read_manifest", "read_shards"]
