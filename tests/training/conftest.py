"""Puts what rooms share where their tests can import it; one tiny base for all tests of training."""

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
def _quick_saving(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model card's template and fsync take longer than training the tiny model; slow tests have them."""
    from sentence_transformers import SentenceTransformer

    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr(SentenceTransformer, "_create_model_card", lambda *args, **kwargs: None)
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(autouse=True, scope="session")
def _no_bars_of_transformers() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()
