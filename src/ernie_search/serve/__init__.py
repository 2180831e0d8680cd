"""The HTTP service: search, and the APIs of OpenAI and Cohere clients, with a search page.

FastAPI and uvicorn are imported on first use, so that the package works without them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ernie_search.errors import SettingsError
from ernie_search.serve.settings import Limits, ServeSettings

if TYPE_CHECKING:
    from ernie_search.serve.app import create_app
    from ernie_search.serve.server import run

__all__ = ["Limits", "ServeSettings", "create_app", "run"]

_HOMES = {"create_app": "ernie_search.serve.app", "run": "ernie_search.serve.server"}
_EXTRA = ("fastapi", "starlette", "uvicorn", "prometheus_client")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ernie_search.serve' has no attribute {name!r}")
    return from_extra(_HOMES[name], name)


def from_extra(module: str, name: str) -> Any:
    """A name of a module that needs the extra ``serve``; a SettingsError where that is not installed."""
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _EXTRA:
            raise SettingsError(
                f"the service needs {error.name}, which is not installed: pip install 'ernie-search[serve]'"
            ) from None
        raise
