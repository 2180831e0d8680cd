"""Starts the tiny service, in this process or on a port of its own."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))

from starlette.testclient import TestClient

from ernie_search.index import MemoryIndex
from stub_encoder import StubEncoder
from tiny_service import PASSAGES, Served, app_of, listening, stub


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Start an app: ``serve(writable=True)``; in this process, without a port."""
    clients = []

    def start(model: StubEncoder | None = None, store: MemoryIndex | None = None, **settings) -> Served:
        app, model = app_of(model, store, **settings)
        client = TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)
        client.__enter__()
        clients.append(client)
        return Served(client, model)

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    """An app with the usual settings."""
    return serve()


@pytest.fixture
def live():
    """Serve on a port of its own: ``with live(writable=True) as address:``."""

    @contextmanager
    def start(model: StubEncoder | None = None, store: MemoryIndex | None = None, **settings):
        app, _ = app_of(model, store, **settings)
        with listening(app) as address:
            yield address

    return start


@pytest.fixture
def loads() -> list[Path]:
    """The model directories that were loaded, in their order."""
    return []


@pytest.fixture
def lance(tmp_path, monkeypatch, loads):
    """An index of the five passages on disk, whose model is the stub."""
    from ernie_search.index import make_spec, open_index, passage_batch

    pytest.importorskip("lancedb", reason="the index on disk needs lancedb")
    model = stub()
    opening = "ernie_search.encoding.opening.open_encoder"
    monkeypatch.setattr(opening, lambda path, **options: loads.append(path) or model)
    (tmp_path / "model").mkdir()
    spec = make_spec(
        model_name=model.name,
        model_fingerprint=model.fingerprint,
        model_path="../model",
        dim=model.token_dim,
        token_dim=model.token_dim,
        tokens="fp16",
        fields={"lang": "str", "year": "int"},
    )
    store = open_index(tmp_path / "store", spec, "w")
    encoding = model.encode_joint([one.full_text for one in PASSAGES], "passage")
    store.upsert(passage_batch(PASSAGES, encoding, model))
    store.commit()
    store.close()
    return tmp_path / "store"
