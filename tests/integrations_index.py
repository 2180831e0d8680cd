"""The tiny service's passages in an index on disk, for the tests of the integrations."""

from pathlib import Path

from ernie_search.index import make_spec, open_index, passage_batch
from ernie_search.types import Passage
from stub_encoder import StubEncoder
from tiny_service import stub

KEY = "secret-key-of-the-tests"
MATE = Passage("mate", "Mate is drunk in Paraguay.", "Mate", {"lang": "es", "year": 1990, "path": "mate.md"})


def fill(folder: Path, passages: list[Passage], model: StubEncoder | None = None) -> Path:
    """Write passages into an index, made if it is not there, and commit."""
    model = model or stub()
    (folder.parent / "model").mkdir(exist_ok=True)
    spec = make_spec(
        model_name=model.name,
        model_fingerprint=model.fingerprint,
        model_path="../model",
        dim=model.token_dim,
        token_dim=model.token_dim,
        tokens="fp16",
        fields={"lang": "str", "year": "int"},
    )
    with open_index(folder, None if folder.is_dir() else spec, "w") as index:
        encoding = model.encode_joint([one.full_text for one in passages], "passage")
        index.upsert(passage_batch(passages, encoding, model))
        index.commit()
    return folder
