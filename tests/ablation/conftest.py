"""A whole recipe over the tiny base, which runs in seconds."""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))  # for the tiny model, which several rooms share


@pytest.fixture
def tiny_base(tmp_path: Path) -> Path:
    """A sentence-transformers model of a few thousand weights."""
    from tiny_model import sentence_base

    return sentence_base(tmp_path / "base", layers=2)


@pytest.fixture
def tiny_recipe(tmp_path: Path, tiny_base: Path) -> Callable[..., Path]:
    """Write a recipe of the first so many stages: ``tiny_recipe(1)``."""
    from tiny_recipe import write_recipe

    return partial(write_recipe, tmp_path, tiny_base)
