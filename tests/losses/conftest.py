"""The way to the definitions that the losses are tested against, and a tiny base for a trainer's loss."""

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two layers, mean pooling, cosine."""
    from tiny_model import sentence_base

    return str(sentence_base(tmp_path_factory.mktemp("bases") / "sentence", layers=2))


@pytest.fixture(autouse=True)
def _quick_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model card's template and fsync take longer than training the tiny model."""
    from sentence_transformers import SentenceTransformer

    monkeypatch.setattr(SentenceTransformer, "_create_model_card", lambda *args, **kwargs: None)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
