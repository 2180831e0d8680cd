"""Puts modules that several rooms share where these tests can import them; a collection of crops."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))

from adapt_crops import crops
from ernie_search.data import MemoryCollection


@pytest.fixture
def collection() -> MemoryCollection:
    return crops(150)
