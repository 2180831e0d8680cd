"""Where the work of encoding and scoring is done: in this process, or on a Ray cluster."""

from ernie_search.engines.local import LocalEngine
from ernie_search.engines.opening import ENGINES, open_engine
from ernie_search.engines.protocol import Engine

__all__ = ["ENGINES", "Engine", "LocalEngine", "open_engine"]
