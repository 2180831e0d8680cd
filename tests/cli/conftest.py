"""A tiny collection and a stub model: the commands are run for real, only the neural network is not there."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

sys.path.append(str(Path(__file__).parent.parent))  # for the stub and tiny models that several rooms share

from stub_encoder import StubEncoder

CORPUS = {
    "tea": ("Tea", "Tea grows on the hills of Assam and needs much rain."),
    "rice": ("Rice", "Rice [paddy] stands in water for most of its life."),
    "wheat": ("", "Wheat likes a dry summer; it is cut when yellow."),
}
QUERIES = {"q1": "where tea grows", "q2": "rice in water", "q3": "wheat in summer"}
RELEVANT = {"q1": "tea", "q2": "rice", "q3": "wheat"}


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

    folder = tmp_path / "model"
    folder.mkdir()
    # So wide that different words are nearly orthogonal; of the corpus one passage is longer.
    stub = StubEncoder(dim=256, longest=13)
    monkeypatch.setattr("ernie_search.encoding.opening.open_encoder", lambda path, **options: stub)
    return folder


@pytest.fixture
def index_folder(run_cli: Callable[..., Result], collection: Path, stub_model: Path, tmp_path: Path) -> Path:
    """The collection, indexed."""
    folder = tmp_path / "index"
    result = run_cli("index", collection, "--model", stub_model, "--output", folder)
    assert result.exit_code == 0, result.output
    return folder
