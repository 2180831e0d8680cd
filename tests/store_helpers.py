"""Small collections and their batches, as the tests of all stores use them."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from ernie_search.index import IndexSpec, Store, make_spec, open_index, passage_batch
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


def new_store(kind: str, folder: Path, **changes) -> Store:
    """An empty store of that backend, open for writing."""
    if kind == "qdrant":
        from qdrant_client import QdrantClient

        from ernie_search.index.qdrant import QdrantStore

        return QdrantStore.create(QdrantClient(":memory:"), "passages", spec(**changes))
    return open_index("memory://" if kind == "memory" else folder, spec(**changes), "w")
