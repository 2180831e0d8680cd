"""Small collections and their batches, as the tests of all backends use them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ernie_search.index import Index, IndexSpec, make_spec, open_index, passage_batch
from ernie_search.index.filters import Filter, meets
from ernie_search.types import Passage
from stub_encoder import StubEncoder

LANGUAGES = ("en", "de", "zh")
FIELDS = {"lang": "str", "year": "int", "price": "float", "open": "bool"}
MODEL = StubEncoder()


def passage(number: int, words: str | None = None) -> Passage:
    """A passage whose fields follow from its number; each fifth lacks ``year``."""
    fields = {"lang": LANGUAGES[number % 3], "price": number / 4, "open": number % 2 == 0, "Other": [number]}
    if number % 5:
        fields["year"] = 1990 + number
    text = words or f"common word{number} group{number % 7} pair{number // 2}"
    return Passage(f"p{number:03}", text, f"Title{number}" if number % 3 == 0 else "", fields)


def batch(passages: Sequence[Passage], model: StubEncoder = MODEL) -> pa.RecordBatch:
    return passage_batch(passages, model.encode_joint([one.full_text for one in passages], "passage"), model)


def spec(**changes) -> IndexSpec:
    settings = {
        "model_name": MODEL.name,
        "model_fingerprint": MODEL.fingerprint,
        "dim": MODEL.token_dim,
        "token_dim": MODEL.token_dim,
        "tokens": "fp16",
        "fields": FIELDS,
    }
    return make_spec(**(settings | changes))


def new_index(kind: str, folder: Path, **changes) -> Index:
    """An empty index of that backend, open for writing."""
    if kind == "qdrant":
        from qdrant_client import QdrantClient

        from ernie_search.index.qdrant import QdrantIndex

        return QdrantIndex.create(QdrantClient(":memory:"), "passages", spec(**changes))
    return open_index("memory://" if kind == "memory" else folder, spec(**changes), "w")


def vectors(count: int, seed: int = 1) -> NDArray[np.float32]:
    """``(count, D)``: questions' vectors."""
    return np.random.default_rng(seed).standard_normal((count, MODEL.token_dim)).astype(np.float32)


def brute_force(
    passages: Sequence[Passage], vector: NDArray[np.float32], k: int, where: Filter | None = None
) -> tuple[list[str], NDArray[np.float32]]:
    """Ids and scores of the ``k`` best by definition: in fp64, rounded once, ties by id."""
    rows = [one for one in passages if where is None or meets(where, {"id": one.id, **one.fields})]
    if not rows:
        return [], np.zeros(0, np.float32)
    dense = MODEL.encode_joint([one.full_text for one in rows], "passage").dense.astype(np.float64)
    scores = (dense @ vector.astype(np.float64)).astype(np.float32)
    order = sorted(range(len(rows)), key=lambda row: (-scores[row], rows[row].id))[:k]
    return [rows[row].id for row in order], scores[order]
