"""Starts the tiny service, in this process or on a port of its own."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))

from starlette.testclient import TestClient

from ernie_search.index import MemoryStore
from stub_encoder import StubEncoder
from tiny_service import Served, app_of, listening


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Start an app: ``serve(writable=True)``; in this process, without a port."""
    clients = []

    def start(model: StubEncoder | None = None, store: MemoryStore | None = None, **settings) -> Served:
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
    def start(model: StubEncoder | None = None, store: MemoryStore | None = None, **settings):
        app, _ = app_of(model, store, **settings)
        with listening(app) as address:
            yield address

    return start
