"""ERNIE-Search: search by words, single vectors and late interaction, from a folder to a measured index.

The public names load on first use, so that ``import ernie_search`` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ernie_search.adaptation.run import adapt
    from ernie_search.api import build_index, train
    from ernie_search.data import open_collection
    from ernie_search.evaluation import evaluate_run
    from ernie_search.model import load
    from ernie_search.search import Searcher

__version__ = "0.1.0"

_HOMES = {
    "Searcher": "ernie_search.search",
    "adapt": "ernie_search.adaptation.run",
    "evaluate_run": "ernie_search.evaluation",
    "build_index": "ernie_search.api",
    "load": "ernie_search.model",
    "open_collection": "ernie_search.data",
    "train": "ernie_search.api",
}

__all__ = [
    "Searcher",
    "__version__",
    "adapt",
    "build_index",
    "evaluate_run",
    "load",
    "open_collection",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ernie_search' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
