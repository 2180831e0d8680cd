"""A folder of documents, and its index by a tiny model without torch."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent.parent))

from ernie_search.data.files import open_files
from ernie_search.encoding.sync import sync_folder
from tiny_onnx import sentence_files

PARTS = "\n\n".join(f"## Part {number}\n\nRotate the logs with care, number {number}." for number in range(6))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers directory."""
    return sentence_files(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """Two files, one with a space in its name."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "logs.md").write_text(f"# Logs\n\n{PARTS}\n")
    (folder / "tea time.txt").write_text("Tea grows in the hills of Assam.\n")
    return folder


@pytest.fixture
def sync(docs: Path, tiny_model: Path, tmp_path: Path):
    """Bring the folder's index up to date; its folder."""

    def run() -> Path:
        sync_folder(open_files(str(docs)), tiny_model, tmp_path / "index")
        return tmp_path / "index"

    return run


@pytest.fixture
def index(sync) -> Path:
    """The folder's index."""
    return sync()
