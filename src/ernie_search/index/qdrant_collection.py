"""A Qdrant collection as it is made, and the one query that searches all of it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from ernie_search.index.qdrant_points import DENSE, TOKENS, WORDS, question_words
from ernie_search.index.rows import column_of
from ernie_search.index.spec import IndexSpec

PAYLOAD_KINDS = {
    "str": models.PayloadSchemaType.KEYWORD,
    "int": models.PayloadSchemaType.INTEGER,
    "float": models.PayloadSchemaType.FLOAT,
    "bool": models.PayloadSchemaType.BOOL,
}


def in_memory(client: QdrantClient) -> bool:
    """Whether this is the client's own imitation of a server, for tests."""
    return client.init_options.get("location") == ":memory:"


def make_collection(client: QdrantClient, name: str, spec: IndexSpec, note: str) -> None:
    """Make it, spread and copied as ``spec.qdrant`` says; its metadata hold the spec under ``note``."""
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
        metadata={note: spec.model_dump(mode="json")},
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


def three_stages(
    client: QdrantClient,
    name: str,
    dense: NDArray[np.float32],
    text: str,
    tokens: NDArray[np.float32],
    k: int,
    candidates: int,
    condition: models.Filter | None,
) -> list[Any]:
    """Dense and words, fused by rank, then MaxSim over the fused: the scored points of one request.

    Args:
        client, name: of the collection.
        dense, text, tokens: the question, ``(D,)`` and ``(Lq, d)``.
        k: points.
        candidates: that each ranking gives, and that MaxSim scores.
        condition: only points that meet it.
    """
    first = [
        models.Prefetch(query=dense.tolist(), using=DENSE, limit=candidates, filter=condition),
        models.Prefetch(query=question_words(text), using=WORDS, limit=candidates, filter=condition),
    ]
    fused = models.Prefetch(
        prefetch=first, query=models.FusionQuery(fusion=models.Fusion.RRF), limit=candidates
    )
    query = np.asarray(tokens, np.float32).tolist()
    return client.query_points(
        name, prefetch=fused, query=query, using=TOKENS, limit=k, with_payload=["id"]
    ).points
