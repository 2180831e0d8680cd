"""Pages: their files are read from the package once, and no other file is served."""

import hashlib
from collections.abc import Mapping
from importlib.resources import files

from fastapi import APIRouter, Request
from starlette.responses import Response

TYPES = {
    "index.html": "text/html; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "cards.js": "text/javascript; charset=utf-8",
    "document.js": "text/javascript; charset=utf-8",
    "parts.js": "text/javascript; charset=utf-8",
    "marks.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


def page_router(room: str = "serve", types: Mapping[str, str] = TYPES) -> APIRouter:
    """A router with a route for each file of a page.

    Args:
        room: whose folder ``page`` has them.
        types: the files' names, and what each is sent as.
    """
    router = APIRouter()
    for name, kind in types.items():
        content = (files(f"ernie_search.{room}") / "page" / name).read_bytes()
        path = "/" if name == "index.html" else f"/{name}"
        router.add_api_route(path, _sender(content, kind), methods=["GET"], include_in_schema=False)
    return router


def _sender(content: bytes, kind: str):  # type: ignore[no-untyped-def]
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}

    async def send(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)

    return send
