"""A small index on disk whose model is the stub, and the same behind the service."""

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from ernie_search.encoding import opening
from integrations_index import KEY, fill
from tiny_service import PASSAGES, app_of, listening, stub


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
