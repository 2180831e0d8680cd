"""Connections within bounds: each gets on in time with what it began, and there are only so many of them."""

import asyncio
import errno
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from ernie_search.serve.telemetry import Seldom

HEADER_SECONDS = 10.0
"""How long a request's header may take, from the connection's opening or its first byte."""

STALL_SECONDS = 30.0
"""How long a client may read nothing of an answer that waits for it."""

SPARE_DESCRIPTORS = 128
"""Left to the index's files, the model and connections that are being accepted or closed."""

NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Connection(H11Protocol):
    """One of uvicorn's; ``bounded`` makes the class for a server.

    The time for a body is the guard's, and the time between two requests uvicorn's.
    """

    most: ClassVar[int]
    waiting: ClassVar[dict["Connection", None]]
    """Those without a request under way; who has waited longest is first."""
    crowded: ClassVar[Seldom]

    _header: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a header. Where there are too many, who has waited longest goes."""
        super().connection_made(transport)
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
        """An answer was handed over, which does not say that it was read."""
        super().on_response_complete()
        self._look()
        if self.transport.is_closing():
            self._expect_reading()

    def pause_writing(self) -> None:
        """More waits for the client than it reads."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """It has read what waited."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def timeout_keep_alive_handler(self) -> None:
        """No request followed in time."""
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
        """Whether a request is under way now, be it one that came together with the last."""
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
    """The class of connections of a server that keeps at most ``most`` of them open."""
    shared = {"most": most, "waiting": {}, "crowded": Seldom("too many connections")}
    return type("BoundedConnection", (Connection,), shared)


def allowed(wanted: int) -> int:
    """``wanted`` connections, or as many as this process's descriptors are enough for."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows, where sockets are no descriptors
        return wanted
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, max(soft - SPARE_DESCRIPTORS, soft // 2)))


def say_seldom_when_descriptors_run_out(loop: asyncio.AbstractEventLoop) -> None:
    """One line now and then in the place of a trace for each connection that cannot be accepted."""
    ran_out = Seldom("out of descriptors", level="error")

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in NO_DESCRIPTORS:
            ran_out(reason=error.strerror)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
