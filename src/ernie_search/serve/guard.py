"""The guard around the app: keys, origins and body limits; request ids, headers, log lines and metrics."""

import asyncio
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException

from ernie_search.serve.problems import RETRY, HttpError, as_problem, problem_body
from ernie_search.serve.settings import KeyRing, ServeSettings, is_loopback
from ernie_search.serve.telemetry import LOGGER, Metrics, log

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = frozenset(
    {
        *("/", "/app.js", "/cards.js", "/document.js", "/marks.js", "/parts.js", "/style.css", "/icon.svg"),
        *("/healthz", "/readyz", "/openapi.json"),
    }
)
"""Paths that need no key: the page has nothing from the index, and asks for a key."""

UNCOUNTED = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that the limit on requests in flight does not count, since they must answer when it is reached."""

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)


class Guard:
    """ASGI middleware around the app, which never sees a request that is not allowed."""

    def __init__(self, app: App, settings: ServeSettings, metrics: Metrics) -> None:
        """Guard ``app``."""
        self.app, self.settings, self.metrics = app, settings, metrics
        self.keys = KeyRing(settings.keys)
        self.hosts = {one.lower() for one in settings.hosts}
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":  # answered as GET; the server, which has its own scope, omits the body
            scope = {**scope, "method": "GET"}
        headers = {name.lower(): value for name, value in scope["headers"]}
        request_id = headers.get(b"x-request-id", b"").decode("latin-1")
        if not REQUEST_ID.fullmatch(request_id):
            request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        answer = _Answer(send, request_id)
        started = time.perf_counter()
        counted = scope["path"] not in UNCOUNTED
        self.in_flight += counted
        self.metrics.in_flight.set(self.in_flight)
        try:
            self._admit(scope, headers)
            if counted and self.in_flight > self.settings.limits.in_flight:
                raise HttpError(429, "too many requests in flight", dict(RETRY))
            await self.app(scope, self._limited(receive, headers), answer)
        except HTTPException as error:
            if not answer.begun:
                await answer.problem(HttpError(error.status_code, error.detail, error.headers))
        except Exception as error:
            problem = as_problem(error)
            if problem is None:
                LOGGER.exception("failure", extra={"values": {"request_id": request_id}})
                problem = HttpError(500, f"unexpected error; it is in the log under {request_id}")
            if not answer.begun:
                await answer.problem(problem)
        finally:
            self.in_flight -= counted
            self.metrics.in_flight.set(self.in_flight)
            self._note(scope, method, answer, time.perf_counter() - started)

    def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        if headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site"):
            raise HttpError(403, "requests from pages of other sites are refused")
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if origin and origin.partition("://")[2] != host:
            raise HttpError(403, "requests from pages of other sites are refused")
        if not self.keys:
            # Without keys only loopback names are answered. Otherwise a hostile page could have its own name
            # resolved to the loopback address, and read the answers as its own (DNS rebinding).
            if not is_loopback(_name(host)) and _name(host) not in self.hosts:
                raise HttpError(403, "this host name is not allowed; add it with --allow-host")
            return
        if scope["path"] in OPEN:
            return
        scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
        presented = credentials.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")
        if not self.keys.holds(presented):
            message = (
                "an API key is needed: Authorization: Bearer KEY" if not presented else "unknown API key"
            )
            raise HttpError(401, message, {"WWW-Authenticate": "Bearer"})

    def _limited(self, receive: Receive, headers: dict[bytes, bytes]) -> Receive:
        """``receive`` with limits on the body's size and on the time until it is complete."""
        most, seconds = self.settings.limits.body_bytes, self.settings.limits.seconds
        # FastAPI lets no other exception pass from where it reads the body.
        too_long = HTTPException(413, f"the body is longer than {most} bytes", {"Connection": "close"})
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared[:20]) > most:
            raise too_long
        seen, whole, deadline = 0, False, asyncio.get_running_loop().time() + seconds

        async def limited() -> Message:
            nonlocal seen, whole
            if whole:  # from here on only a disconnect is awaited
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the body came too slowly", {"Connection": "close"}) from None
            whole = not message.get("more_body", False)
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > most:
                    raise too_long
            return message

        return limited

    def _note(self, scope: Scope, method: str, answer: "_Answer", seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "other"
        method = method if method in ("GET", "POST", "DELETE", "HEAD") else "other"
        self.metrics.requests.labels(route, method, str(answer.status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        if answer.status == 429:
            self.metrics.refused.inc()
        values = {
            "request_id": answer.request_id,
            "method": method,
            "route": route,
            "status": answer.status,
            "ms": round(seconds * 1000, 1),
            **scope["state"].get("log", {}),
        }
        log("request", level="warning" if answer.status >= 500 else "info", **values)


class _Answer:
    """``send`` with our headers, which notes the response's status."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send, self.request_id = send, request_id
        self.begun, self.status = False, 499  # the client disconnected before it was answered

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun, self.status = True, message["status"]
            own = [(b"x-request-id", self.request_id.encode()), *HEADERS]
            given = {name.lower() for name, _ in message.get("headers", ())}
            if b"cache-control" not in given:
                own.append((b"cache-control", b"no-store"))
            kept = [pair for pair in message.get("headers", ()) if pair[0].lower() != b"server"]
            message = {**message, "headers": [*kept, *own]}
        await self._send(message)

    async def problem(self, problem: HttpError) -> None:
        body = problem_body(problem.status, problem.message, self.request_id)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
        await self({"type": "http.response.start", "status": problem.status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


def _name(host: str) -> str:
    """The name in a Host header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host
