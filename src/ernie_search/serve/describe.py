"""/openapi.json: what the routes and bodies say of themselves, with this service's own limits and keys."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from ernie_search.serve.guard import OPEN
from ernie_search.serve.settings import Limits, ServeSettings

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class App(FastAPI):
    """Describes itself with what ``settings`` allow; nothing of the index is in it, as it needs no key."""

    def __init__(self, settings: ServeSettings, **options: Any) -> None:
        """As FastAPI, for ``settings``."""
        super().__init__(**options)
        self._settings = settings

    def openapi(self) -> dict[str, Any]:
        """The description, made once."""
        if self.openapi_schema is None:
            found = super().openapi()
            _with_limits(found["components"]["schemas"], self._settings.limits)
            if self._settings.keys:
                _with_keys(found)
        return dict(self.openapi_schema or {})


def methods_by_path(routers: Iterable[APIRouter]) -> dict[str, list[str]]:
    """What each path can be asked with: a route alone knows only its own methods. Each GET has its HEAD."""
    found: dict[str, set[str]] = {}
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute):
                found.setdefault(route.path, set()).update(route.methods or ())
    for methods in found.values():
        methods |= {"HEAD"} if "GET" in methods else set()
    return {path: sorted(methods) for path, methods in found.items()}


def _with_limits(schemas: dict[str, Any], limits: Limits) -> None:
    """Write the limits where the bodies are described."""

    def part(schema: str, name: str, kind: str = "") -> dict[str, Any]:
        found: dict[str, Any] = schemas[schema]["properties"][name]
        if not kind:
            return found
        return next(one for one in found["anyOf"] if one.get("type") == kind)

    part("SearchRequest", "k")["maximum"] = limits.k
    part("SearchRequest", "candidates")["maximum"] = limits.candidates
    part("SearchRequest", "query", "string")["maxLength"] = limits.question_characters
    part("RerankRequest", "query")["maxLength"] = limits.question_characters
    for schema in ("SearchRequest", "DeleteRequest"):
        part(schema, "filter", "string")["maxLength"] = limits.filter_characters
    part("PassageIn", "text")["maxLength"] = limits.passage_characters
    part("RerankDocument", "text")["maxLength"] = limits.passage_characters
    text, texts = part("EmbeddingsRequest", "input")["anyOf"]
    document = part("RerankRequest", "documents")["items"]["anyOf"][0]
    for one in (text, texts["items"], document):
        one["maxLength"] = limits.passage_characters
    texts["maxItems"] = limits.texts
    part("RerankRequest", "documents")["maxItems"] = limits.documents
    for one in (part("UpsertRequest", "passages"), part("DeleteRequest", "ids", "array")):
        one["maxItems"] = limits.batch


def _with_keys(description: dict[str, Any]) -> None:
    """Say which operations need a key."""
    description["components"]["securitySchemes"] = SCHEMES
    for path, operations in description["paths"].items():
        if path not in OPEN:
            for operation in operations.values():
                operation["security"] = [{name: []} for name in SCHEMES]
