"""Puts what rooms share where their tests can import it; one tiny base for all tests of the teacher."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two layers, nothing of sentence-transformers."""
    from tiny_model import bare_base

    return str(bare_base(tmp_path_factory.mktemp("bases") / "bare", layers=2))


@pytest.fixture(autouse=True, scope="session")
def _quick_saving() -> Iterator[None]:
    """A model card's template and fsync take longer than training the tiny model."""
    from sentence_transformers import CrossEncoder
    from transformers.utils import logging

    patch = pytest.MonkeyPatch()
    patch.setattr(CrossEncoder, "_create_model_card", lambda *args, **kwargs: None)
    patch.setattr(os, "fsync", lambda descriptor: None)
    logging.disable_progress_bar()
    yield
    patch.undo()
