"""Passages as Qdrant's points, filters as its filters, words as its sparse vectors, and back."""

import base64
import uuid
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from qdrant_client import QdrantClient, models

from ernie_search._util.words import counted_words
from ernie_search.errors import SettingsError
from ernie_search.index.bm25 import K1, B
from ernie_search.index.filters import And, Eq, Filter, In, Not, Or, Value
from ernie_search.index.rows import column_of, row_schema
from ernie_search.index.spec import IndexSpec
from ernie_search.index.stored_tokens import TokenCodec

DENSE, TOKENS, WORDS = "dense", "tokens", "words"
"""Names of a point's vectors."""


def point_id(one: str) -> str:
    """Qdrant takes numbers and UUIDs only: the UUID that follows from a passage's id."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"ernie-search:{one}"))


def passage_words(text: str, average: int) -> models.SparseVector:
    """BM25's term weights; the server multiplies by the inverse document frequency, which it knows."""
    counts = Counter(text.split())
    length = sum(counts.values())
    scale = K1 * (1 - B + B * length / average)
    return _sparse({word: count / (count + scale) for word, count in counts.items()})


def question_words(words: Sequence[str]) -> models.SparseVector:
    """How often each word is asked for."""
    return _sparse({word: float(count) for word, count in Counter(words).items()})


def to_points(rows: pa.Table, codec: TokenCodec | None, average_words: int) -> list[models.PointStruct]:
    """Rows of ``to_rows`` as points; token matrices are unpacked into multivectors."""
    names = [name for name in rows.column_names if name not in (DENSE, TOKENS, WORDS, "token_ids")]
    columns = {name: rows[name].to_pylist() for name in names}
    dense = rows[DENSE].to_pylist()
    texts = rows[WORDS].to_pylist()
    blobs = rows[TOKENS].to_pylist() if codec is not None else []
    matrices = codec.decode(blobs) if codec is not None else []
    points = []
    for place, one in enumerate(columns["id"]):
        payload = {name: values[place] for name, values in columns.items() if values[place] is not None}
        vectors: dict[str, Any] = {DENSE: dense[place], WORDS: passage_words(texts[place], average_words)}
        if codec is not None:
            payload["token_ids"] = base64.b64encode(rows["token_ids"][place].as_py()).decode()
            if len(matrices[place]):  # a multivector of no rows is refused
                vectors[TOKENS] = matrices[place].tolist()
        points.append(models.PointStruct(id=point_id(one), payload=payload, vector=vectors))
    return points


def to_rows_back(
    points: Sequence[Any], names: Sequence[str], spec: IndexSpec, codec: TokenCodec | None
) -> pa.Table:
    """Points as the stored columns ``names``."""
    schema = row_schema(spec)
    columns = []
    values: Any
    for name in names:
        kind = schema.field(name).type
        if name == DENSE:
            values = np.asarray([one.vector[DENSE] for one in points], np.float32).reshape(-1)
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values, pa.float32()), spec.dim))
            continue
        if name == TOKENS and codec is not None:
            empty = np.zeros((0, spec.token_dim), np.float32)
            matrices = [
                np.asarray(found, np.float32) if (found := one.vector.get(TOKENS)) is not None else empty
                for one in points
            ]
            columns.append(pa.array(codec.encode(matrices), kind))
            continue
        if name == "token_ids":
            values = [base64.b64decode(one.payload["token_ids"]) for one in points]
        elif name == WORDS:
            values = [
                " ".join(counted_words(f"{one.payload['title']} {one.payload['text']}", spec.language))
                for one in points
            ]
        else:
            values = [one.payload.get(name) for one in points]
        columns.append(pa.array(values, kind))
    return pa.Table.from_arrays(columns, schema=pa.schema([schema.field(name) for name in names]))


def to_filter(where: Filter) -> models.Filter:
    """The condition in Qdrant's terms."""
    if isinstance(where, And):
        return models.Filter(must=[to_filter(part) for part in where.parts])
    if isinstance(where, Or):
        return models.Filter(should=[to_filter(part) for part in where.parts]) if where.parts else _nothing()
    if isinstance(where, Not):
        return models.Filter(must_not=[to_filter(where.part)])
    key = column_of(where.field)
    if isinstance(where, Eq):
        return models.Filter(must=[_equal(key, where.value)])
    if isinstance(where, In):
        return (
            models.Filter(should=[_equal(key, one) for one in where.values]) if where.values else _nothing()
        )
    bounds = (where.above, where.at_least, where.below, where.at_most)
    if all(one is None for one in bounds):
        # A range without bounds asks only that the number is there.
        return models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key=key))])
    for one in bounds:
        if one is not None and float(one) != one:
            raise SettingsError(
                f"filter: {where.field}: Qdrant compares numbers as floats, and {one} is none; "
                "choose a bound below 2**53"
            )
    above, at_least, below, at_most = bounds
    span = models.Range(gt=above, gte=at_least, lt=below, lte=at_most)
    return models.Filter(must=[models.FieldCondition(key=key, range=span)])


def _equal(key: str, value: Value) -> models.FieldCondition:
    if isinstance(value, float):  # matches are for whole values only
        return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _nothing() -> models.Filter:
    return models.Filter(must=[models.HasIdCondition(has_id=[])])


def _sparse(weights: dict[str, float]) -> models.SparseVector:
    """Words by their checksum: two of a million words share one of four billion about 100 times."""
    summed: dict[int, float] = {}
    for word, weight in weights.items():
        place = zlib.crc32(word.encode())
        summed[place] = summed.get(place, 0.0) + weight
    return models.SparseVector(indices=list(summed), values=list(summed.values()))


PAYLOAD_KINDS = {
    "str": models.PayloadSchemaType.KEYWORD,
    "int": models.PayloadSchemaType.INTEGER,
    "float": models.PayloadSchemaType.FLOAT,
    "bool": models.PayloadSchemaType.BOOL,
}


def in_memory(client: QdrantClient) -> bool:
    """Whether this is the client's own imitation of a server, for tests."""
    return client.init_options.get("location") == ":memory:"


def make_collection(client: QdrantClient, name: str, spec: IndexSpec, metadata: dict[str, Any]) -> None:
    """Make it, spread and copied as ``spec.qdrant`` says."""
    wanted = spec.qdrant
    codes = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
    vectors = {
        DENSE: models.VectorParams(
            size=spec.dim,
            distance=models.Distance.DOT,
            on_disk=wanted.on_disk,
            quantization_config=models.ScalarQuantization(scalar=codes) if spec.dense == "int8" else None,
        )
    }
    if spec.with_tokens:
        vectors[TOKENS] = models.VectorParams(
            size=spec.token_dim,
            distance=models.Distance.DOT,
            on_disk=wanted.token_vectors_on_disk,
            datatype=models.Datatype.FLOAT16 if spec.tokens == "fp16" else models.Datatype.FLOAT32,
            multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
            hnsw_config=models.HnswConfigDiff(m=0),  # they only re-rank, so no graph over them
        )
    client.create_collection(
        name,
        vectors_config=vectors,
        sparse_vectors_config={WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF)},
        shard_number=wanted.shards,
        replication_factor=wanted.replicas,
        on_disk_payload=wanted.on_disk,
        metadata=metadata,
    )
    if not in_memory(client):  # where they have no effect, and warn
        for field, kind in {"id": "str", **spec.fields}.items():
            client.create_payload_index(name, column_of(field), PAYLOAD_KINDS[kind])


def search_params(spec: IndexSpec, *, exact: bool) -> models.SearchParams:
    """How the server compares vectors: all of them or its graph's, full ones or codes first."""
    codes = None
    if spec.dense == "int8":
        codes = models.QuantizationSearchParams(ignore=exact, rescore=True, oversampling=float(spec.refine))
    return models.SearchParams(exact=exact, quantization=codes)
