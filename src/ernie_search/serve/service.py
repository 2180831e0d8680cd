"""The engine in use and its successor: a new index or model is taken up without dropping a request."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from ernie_search.errors import ErnieSearchError
from ernie_search.serve.engine import Engine
from ernie_search.serve.log import log
from ernie_search.serve.opening import resolve

Opener = Callable[[], Engine]
"""Opens index and model anew; called on a thread of its own."""


class UnreadyError(ErnieSearchError):
    """No index is open."""


class Service:
    """Hands the engine out to requests, and replaces it while they go on."""

    def __init__(self, opener: Opener, *, exclusive: bool = False) -> None:
        """Begin with nothing open.

        Args:
            opener: see ``Opener``.
            exclusive: the index admits one opening at a time (one writer): requests then wait while the old
                is closed and the new opened, instead of going on with the old.
        """
        self._opener, self._exclusive = opener, exclusive
        self._current: Engine | None = None
        self._users: dict[Engine, int] = {}
        self._idle = asyncio.Condition()
        self._reloading = asyncio.Lock()
        self._open = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self.version = 0
        self.draining = False

    @property
    def ready(self) -> bool:
        """Whether questions are answered."""
        return self._current is not None and not self.draining

    @property
    def current(self) -> Engine | None:
        """The engine that new requests get, for figures only; use ``lease`` to work with it."""
        return self._current

    async def start(self) -> None:
        """Open for the first time.

        Raises:
            ErnieSearchError: as the opener.
        """
        self._current = await asyncio.to_thread(self._opener)
        self._users[self._current] = 0
        self.version += 1
        self._open.set()

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator[Engine]:
        """The engine, for one request: it stays open until the request is done.

        Raises:
            UnreadyError: nothing is open.
        """
        await self._open.wait()
        engine = self._current
        if engine is None:
            raise UnreadyError("no index is open; see the service's log")
        self._users[engine] += 1
        try:
            yield engine
        finally:
            self._users[engine] -= 1
            if self._users[engine] == 0:
                async with self._idle:
                    self._idle.notify_all()

    async def reload(self) -> int:
        """Open index and model anew and hand them to all requests from now on; the new version's number.

        Requests under way finish with what they began with. If opening fails, the old stays in use (but where
        the index admits one opening at a time, nothing is open then).

        Raises:
            ErnieSearchError: as the opener.
        """
        async with self._reloading:
            old = self._current
            if self._exclusive and old is not None:
                self._open.clear()
                try:
                    await self._retire(old)
                    self._current = None
                    self._current = await asyncio.to_thread(self._opener)
                    self._users[self._current] = 0
                finally:
                    self._open.set()
            else:
                new = await asyncio.to_thread(self._opener)
                self._users[new] = 0
                self._current = new
                if old is not None:
                    task = asyncio.create_task(self._retire(old))
                    self._background.add(task)
                    task.add_done_callback(self._background.discard)
            self.version += 1
            log("reload", version=self.version)
            return self.version

    async def watch(self, pointer: Path, seconds: float) -> None:
        """Reload whenever the pointer file names another index; runs until cancelled."""
        seen = pointer.read_bytes()
        while True:
            await asyncio.sleep(seconds)
            try:
                now = await asyncio.to_thread(pointer.read_bytes)
                if now == seen:
                    continue
                seen = now
                resolve(str(pointer))
                await self.reload()
            except (ErnieSearchError, OSError) as error:
                log("reload failed", level="error", reason=str(error))

    async def close(self) -> None:
        """Let the requests under way finish, then release everything."""
        self.draining = True
        for task in list(self._background):
            await task
        if self._current is not None:
            await self._retire(self._current)
            self._current = None

    async def _retire(self, engine: Engine) -> None:
        async with self._idle:
            await self._idle.wait_for(lambda: self._users[engine] == 0)
        del self._users[engine]
        await engine.close()
