"""A folder of documents with its index, and a tiny index whose model is the stub, also behind the service."""

import asyncio
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))

from ernie_search.data.files import open_files
from ernie_search.encoding import opening
from ernie_search.encoding.sync import sync_folder
from integrations_index import KEY, fill
from tiny_onnx import sentence_files
from tiny_service import PASSAGES, app_of, listening, stub

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


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stub stands for every model; the names that were asked for, in their order."""
    found: list[str] = []

    def opened(name, **_):
        found.append(str(name))
        return stub()

    monkeypatch.setattr(opening, "open_encoder", opened)
    return found


@pytest.fixture
def store(tmp_path: Path, loads: list[str]) -> Path:
    """The tiny service's passages in an index on disk."""
    return fill(tmp_path / "store", PASSAGES)


@pytest.fixture
def address() -> Iterator[str]:
    """A service with a key, on a port of its own; ``KEY`` opens it."""
    pytest.importorskip("httpx", reason="the frameworks bring it")
    app, _ = app_of(keys=(KEY,))
    with listening(app) as found:
        yield found


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run LangChain's asynchronous tests here, without a plugin."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in wanted}))
    return True
