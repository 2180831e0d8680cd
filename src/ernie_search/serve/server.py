"""The app under uvicorn: a line with its address, bounded connections, graceful shutdown."""

import asyncio
import errno
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from ernie_search.errors import SettingsError
from ernie_search.serve.app import create_app, worker_opener
from ernie_search.serve.service import Opener
from ernie_search.serve.settings import ServeSettings
from ernie_search.serve.telemetry import Metrics, RateLimitedLog, configure
from ernie_search.serve.worker import Worker

HEADER_SECONDS = 10.0
"""Time limit for a request's header, from the opening of the connection or the header's first byte."""

STALL_SECONDS = 30.0
"""How long a client may leave an answer unread."""

SPARE_DESCRIPTORS = 128
"""File descriptors reserved for the index, the model, and connections being accepted or closed."""

NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class _Joined:
    """A transport that sends what is written in one turn of the event loop together.

    uvicorn writes an answer's header and body one after the other. Sent apart, they cost a second system
    call, and wake the client for the header alone.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size() + sum(map(len, self._parts))

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._parts.clear()
        self._transport.abort()

    def _flush(self) -> None:
        if self._parts:
            data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts.clear()
            self._transport.write(data)


class Connection(H11Protocol):
    """A connection of uvicorn's with time limits for reading a header and for an unread answer.

    ``bounded`` makes the class for one server. The guard limits the time for a body, and uvicorn that between
    two requests.
    """

    most: ClassVar[int]
    waiting: ClassVar[dict["Connection", None]]
    """Connections without a request, the longest waiting one first."""
    crowded: ClassVar[RateLimitedLog]

    _header: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a header; if there are too many connections, close the longest waiting one."""
        super().connection_made(_Joined(transport, self.loop))  # type: ignore[arg-type]
        self.waiting[self] = None
        self._header = self.loop.call_later(HEADER_SECONDS, self._close)
        if len(self.connections) > self.most:
            first = next(iter(self.waiting))
            del self.waiting[first]
            first.connections.discard(first)
            first.transport.abort()
            self.crowded(most=self.most)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        super().data_received(data)
        self._look()
        if self in self.waiting and self._header is None:
            self._header = self.loop.call_later(HEADER_SECONDS, self._close)

    def on_response_complete(self) -> None:
        """Start the time limit for reading the answer, if the connection is closing."""
        super().on_response_complete()
        self._look()
        if self.transport.is_closing():
            self._expect_reading()

    def pause_writing(self) -> None:
        """Start the time limit for reading: the write buffer is full."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """End the time limit for reading: the client has read enough."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection."""
        super().timeout_keep_alive_handler()
        self._expect_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        super().connection_lost(exc)
        self.waiting.pop(self, None)
        for timer in (self._header, self._stall):
            if timer is not None:
                timer.cancel()

    def _look(self) -> None:
        """Note whether a request is being answered, which may be a pipelined one."""
        if self.cycle is None or self.cycle.response_complete:
            if not self.transport.is_closing():
                self.waiting.setdefault(self)
            return
        self.waiting.pop(self, None)
        if self._header is not None:
            self._header.cancel()
            self._header = None

    def _close(self) -> None:
        self._header = None
        self.transport.close()
        self._expect_reading()

    def _expect_reading(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        if self._unsent and self._stall is None:
            self._stall = self.loop.call_later(STALL_SECONDS, self._check_reading)

    def _check_reading(self) -> None:
        self._stall = None
        left = self.transport.get_write_buffer_size()
        if left and left >= self._unsent:
            self.transport.abort()
        else:
            self._expect_reading()


def bounded(most: int) -> type[Connection]:
    """The connection class of a server that keeps at most ``most`` connections open."""
    shared = {"most": most, "waiting": {}, "crowded": RateLimitedLog("too many connections")}
    return type("BoundedConnection", (Connection,), shared)


def allowed(wanted: int) -> int:
    """``wanted`` connections, or fewer where this process may not open enough file descriptors."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows, where sockets are no descriptors
        return wanted
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, max(soft - SPARE_DESCRIPTORS, soft // 2)))


def log_descriptors_running_out(loop: asyncio.AbstractEventLoop) -> None:
    """Log a rate-limited line instead of a traceback for each connection that cannot be accepted."""
    ran_out = RateLimitedLog("out of descriptors", level="error")

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in NO_DESCRIPTORS:
            ran_out(reason=error.strerror)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)


BACKLOG, ACCEPTED = 2048, 32
"""Connections that the kernel queues, and those accepted in one turn of the event loop: with asyncio's own
value, the backlog, all would be accepted at once, beyond the bound and the file descriptors."""

IDLE_SECONDS = 20
"""How long a connection is kept open between two requests."""


def run(settings: ServeSettings, say: Callable[[str], Any], opener: Opener | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in flight.

    Args:
        settings: see ``ServeSettings``.
        say: called with the line that has the address, once the service is ready.
        opener: see ``create_app``.

    Raises:
        SettingsError: the address is in use, or not one of this machine.
        ErnieSearchError: the index or its model cannot be opened.
    """
    with _listen(settings) as listener:
        metrics = Metrics()
        again = opener or worker_opener(settings, metrics)
        first: list[Worker] = []
        app = create_app(settings, lambda: first.pop() if first else again(), metrics)
        first.append(again())  # not in the event loop, where a failure would be a traceback
        line = _where(settings, listener, first[0])
        configure()
        with _ends_quietly():
            _Server(_config(app, settings), lambda: say(line)).run(sockets=[listener])


def run_page(app: FastAPI, settings: ServeSettings, say: Callable[[str], Any]) -> None:
    """Serve an app that needs no index until SIGTERM or SIGINT.

    Args:
        app: see ``protect``.
        settings: where to listen.
        say: called with its address once it answers.

    Raises:
        SettingsError: the address is in use, or not one of this machine.
    """
    with _listen(settings) as listener, _ends_quietly():
        address = _address(settings, listener)
        _Server(_config(app, settings), lambda: say(address)).run(sockets=[listener])


def _config(app: FastAPI, settings: ServeSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=bounded(allowed(settings.limits.connections)),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,  # nothing here depends on the client's address
        ws="none",
        backlog=ACCEPTED,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=int(settings.limits.drain_seconds) + 1,
        h11_max_incomplete_event_size=64 * 1024,
    )


class _Server(uvicorn.Server):
    """uvicorn's server, which calls ``say`` once it listens."""

    def __init__(self, config: uvicorn.Config, say: Callable[[], Any]) -> None:
        super().__init__(config)
        self._say = say

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        log_descriptors_running_out(asyncio.get_running_loop())
        try:
            await super().startup(sockets)
        except OSError as error:  # another service bound the same port, and listened first
            reason = error.strerror or "cannot listen"
            raise SettingsError(f"--host {self.config.host} --port {self.config.port}: {reason}") from None
        for one in sockets or ():
            one.listen(BACKLOG)
        if self.started:
            self._say()


def _where(settings: ServeSettings, listener: socket.socket, worker: Worker) -> str:
    extra = (", writable" if settings.writable else "") + (", keys needed" if settings.keys else "")
    about = f"{len(worker.index):,} passages, modes {', '.join(worker.modes)}{extra}"
    return f"{_address(settings, listener)}  {about}"


def _address(settings: ServeSettings, listener: socket.socket) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listener.getsockname()[1]}"


def _listen(settings: ServeSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets made with IPPROTO_TCP. Without it every answer waits 40 ms for
    # the client to acknowledge its headers.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        reason = error.strerror or "not an address of this machine"
        raise SettingsError(f"--host {settings.host} --port {settings.port}: {reason}") from None
    return listener


@contextmanager
def _ends_quietly() -> Iterator[None]:
    """Ignore the signal that uvicorn raises again after a graceful shutdown, so that the exit code is 0."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
