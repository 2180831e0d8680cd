"""Run the app under uvicorn: one line that says where, and an orderly end."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from ernie_search.errors import SettingsError
from ernie_search.serve.app import create_app, engine_opener
from ernie_search.serve.connections import allowed, bounded, say_seldom_when_descriptors_run_out
from ernie_search.serve.service import Opener
from ernie_search.serve.settings import ServeSettings
from ernie_search.serve.telemetry import Metrics, configure
from ernie_search.serve.worker import Engine

BACKLOG, ACCEPTED = 2048, 32
"""Connections that the kernel holds for us, and of which we take so many before we look after the others:
asyncio would take all of them at once, whatever the bound and the descriptors."""
IDLE_SECONDS = 20
"""How long a connection is kept open between two requests."""


def run(settings: ServeSettings, say: Callable[[str], Any], opener: Opener | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then let the requests under way finish.

    Args:
        settings: see ``ServeSettings``.
        say: told where, once questions are answered.
        opener: see ``create_app``.

    Raises:
        SettingsError: the address is taken, or not this machine's.
        ErnieSearchError: index or model cannot be opened.
    """
    with _listen(settings) as listener:
        metrics = Metrics()
        again = opener or engine_opener(settings, metrics)
        first: list[Engine] = []
        app = create_app(settings, lambda: first.pop() if first else again(), metrics)
        first.append(again())  # here, where a failure is one line and no trace of the event loop's
        line = _where(settings, listener, first[0])
        configure()
        with _ends_quietly():
            _Server(_config(app, settings), lambda: say(line)).run(sockets=[listener])


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
    """Says a line once it listens."""

    def __init__(self, config: uvicorn.Config, say: Callable[[], Any]) -> None:
        super().__init__(config)
        self._say = say

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        say_seldom_when_descriptors_run_out(asyncio.get_running_loop())
        await super().startup(sockets)
        for one in sockets or ():
            one.listen(BACKLOG)
        if self.started:
            self._say()


def _where(settings: ServeSettings, listener: socket.socket, engine: Engine) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    extra = (", writable" if settings.writable else "") + (", keys needed" if settings.keys else "")
    port = listener.getsockname()[1]
    return f"http://{host}:{port}  {len(engine.index):,} passages, modes {', '.join(engine.modes)}{extra}"


def _listen(settings: ServeSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio sends at once (TCP_NODELAY) only on sockets that say that they are TCP; without it every answer
    # waits 40 ms for the client's acknowledgement of its headers.
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
    """After an orderly end uvicorn raises the signal again, which would end the process as if killed."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
