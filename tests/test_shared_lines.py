"""The reference tells each of the names that share a docstring's line; what is no such line stays."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip(
    "griffe", reason="the documentation's packages are not installed (pip install -e .[docs])"
)
PATH = Path(__file__).resolve().parent.parent / "docs" / "build" / "shared_lines.py"
spec = importlib.util.spec_from_file_location("shared_lines", PATH)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)


def test_shared_lines_are_split_within_their_sections_only():
    text = (
        "What it does, and why: so.\n\n    one, two: of prose, not of a section.\n\n"
        "Args:\n    first, second: both.\n        More, of both: here.\n    third: one.\n\n"
        "Raises:\n    A, B: stays.\n"
    )
    assert module.split_shared(text) == (
        "What it does, and why: so.\n\n    one, two: of prose, not of a section.\n\n"
        "Args:\n    first: both.\n        More, of both: here.\n"
        "    second: both.\n        More, of both: here.\n"
        "    third: one.\n\nRaises:\n    A, B: stays.\n"
    )
