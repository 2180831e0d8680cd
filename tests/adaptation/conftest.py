"""Puts modules that several rooms share where these tests can import them; a collection of crops."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))

from adapt_crops import crops
from ernie_search.data import MemoryCollection
from fake_endpoint import FakeEndpoint


@pytest.fixture
def collection() -> MemoryCollection:
    return crops(150)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEndpoint]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    endpoint = FakeEndpoint()
    yield endpoint
    endpoint.close()
