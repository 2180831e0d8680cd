"""A tiny collection and a stub model: the commands are run for real, only the neural network is not there."""

import json
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner, Result

sys.path.append(str(Path(__file__).parent.parent))  # for the tiny model, which several rooms share

CORPUS = {
    "tea": ("Tea", "Tea grows on the hills of Assam and needs much rain."),
    "rice": ("Rice", "Rice [paddy] stands in water for most of its life."),
    "wheat": ("", "Wheat likes a dry summer; it is cut when yellow."),
}
QUERIES = {"q1": "where tea grows", "q2": "rice in water", "q3": "wheat in summer"}
RELEVANT = {"q1": "tea", "q2": "rice", "q3": "wheat"}


class StubEncoder:
    """Words as seeded random vectors: the single vector is their sum, the token matrix the words."""

    name = "stub"
    token_dim = 256  # so wide that different words are nearly orthogonal

    def __init__(self, fingerprint: str = "0123456789abcdef") -> None:
        self.fingerprint = fingerprint

    def _row(self, word: str) -> np.ndarray:
        vector = np.random.default_rng(zlib.crc32(word.encode())).normal(size=self.token_dim)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def _words(self, text: str) -> list[str]:
        return [word.strip(".,;?[]").lower() for word in text.split()]

    def encode_joint(
        self,
        texts: Sequence[str],
        task: str,
        *,
        tokens: bool = True,
        token_budget: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> SimpleNamespace:
        words = [self._words(text) for text in texts]
        matrices = [np.stack([self._row(word) for word in one]) for one in words]
        dense = np.stack([matrix.sum(0) / np.linalg.norm(matrix.sum(0)) for matrix in matrices])
        ids = [np.array([zlib.crc32(word.encode()) % 2**31 for word in one], np.int32) for one in words]
        if progress is not None:
            progress(len(texts))
        return SimpleNamespace(
            dense=dense, tokens=matrices if tokens else [], token_ids=ids if tokens else [], truncated=1
        )

    def tokenizer(self, text: str, **options: bool) -> "Words":
        """As a fast tokenizer answers: offsets and ids of the words."""
        found, at = [], 0
        for piece in text.split():
            at = text.index(piece, at)
            found.append((at, at + len(piece)))
            at += len(piece)
        ids = [zlib.crc32(word.encode()) % 2**31 for word in self._words(text)]
        return Words(offset_mapping=found, input_ids=ids)


class Words(dict):
    """A tokenizer's answer in which each token is a word."""

    def word_ids(self) -> list[int]:
        return list(range(len(self["input_ids"])))


@pytest.fixture
def run_cli() -> Callable[..., Result]:
    """Run the command in this process: ``run_cli("search", "question", ...)``."""
    from ernie_search.cli import app

    def run(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)

    return run


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """A BEIR folder with a split ``test``."""
    folder = tmp_path / "crops"
    (folder / "qrels").mkdir(parents=True)
    with open(folder / "corpus.jsonl", "w", encoding="utf-8") as handle:
        for key, (title, text) in CORPUS.items():
            handle.write(json.dumps({"_id": key, "title": title, "text": text}) + "\n")
    with open(folder / "queries.jsonl", "w", encoding="utf-8") as handle:
        for key, text in QUERIES.items():
            handle.write(json.dumps({"_id": key, "text": text}) + "\n")
    rows = "".join(f"{query}\t{passage}\t1\n" for query, passage in RELEVANT.items())
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}", encoding="utf-8")
    return folder


@pytest.fixture
def stub_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A model directory that ``ernie_search.model.load`` opens as the stub."""
    import ernie_search.model

    folder = tmp_path / "model"
    folder.mkdir()
    monkeypatch.setattr(ernie_search.model, "load", lambda path, **options: StubEncoder())
    return folder


@pytest.fixture
def index_folder(run_cli: Callable[..., Result], collection: Path, stub_model: Path, tmp_path: Path) -> Path:
    """The collection, indexed."""
    folder = tmp_path / "index"
    result = run_cli("index", collection, "--model", stub_model, "--output", folder)
    assert result.exit_code == 0, result.output
    return folder
