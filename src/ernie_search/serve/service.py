"""The engine in use and its successor: a new index or model is taken up without dropping a request."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from ernie_search.errors import ErnieSearchError
from ernie_search.process_memory import release_freed_memory
from ernie_search.serve.engine import Engine
from ernie_search.serve.log import log
from ernie_search.serve.opening import Seen

Opener = Callable[[], Engine]
"""Opens index and model anew; called on a thread of its own."""

Renewer = Callable[[Engine], Engine]
"""Opens the same index anew under the model that the engine has loaded; called on a thread of its own."""

TIDY_SECONDS = 30.0

LONGEST_PAUSE = 60.0
"""Seconds between two tries to take up what cannot be opened."""


class UnreadyError(ErnieSearchError):
    """No index is open."""


class Service:
    """Hands the engine out to requests, and replaces it while they go on."""

    def __init__(
        self,
        opener: Opener,
        *,
        exclusive: bool = False,
        look: Callable[[], Seen | None] = lambda: None,
        renew: Renewer | None = None,
    ) -> None:
        """Begin with nothing open.

        Args:
            opener: see ``Opener``.
            exclusive: the index admits one opening at a time (one writer): requests then wait while the old
                is closed and the new opened, instead of going on with the old.
            look: how the index looks on disk; see ``watch``.
            renew: see ``Renewer``; without it everything is opened anew.
        """
        self._opener, self._exclusive = opener, exclusive
        self._look, self._renew = look, renew
        self._seen = look()  # before the first opening: a change in between is taken up once more than needed
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
        """Whether questions are answered, be it after a reload that is under way."""
        return (self._current is not None or self._reloading.locked()) and not self.draining

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

    async def reload(self, *, keep_model: bool = False) -> int:
        """Open index and model anew and hand them to all requests from now on; the new version's number.

        Args:
            keep_model: go on with the loaded model where the new index is still of it.

        Requests under way finish with what they began with. If opening fails, the old stays in use (but where
        the index admits one opening at a time, nothing is open then).

        Raises:
            ErnieSearchError: as the opener.
        """
        async with self._reloading:
            old, seen = self._current, await asyncio.to_thread(self._look)
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
                new = await self._successor(old if keep_model else None)
                self._users[new] = 0
                self._current = new
                if old is not None:
                    task = asyncio.create_task(self._retire(old))
                    self._background.add(task)
                    task.add_done_callback(self._background.discard)
            self._seen = seen
            self.version += 1
            log("reload", version=self.version)
            return self.version

    async def watch(self, seconds: float) -> None:
        """Take up every change of the index on disk: another pointer, a new commit; runs until cancelled.

        What cannot be opened is tried again after ever longer pauses, while the old stays in use.
        """
        pause = seconds
        while True:
            await asyncio.sleep(pause)
            now = await asyncio.to_thread(self._look)
            if now is None or now == self._seen:
                pause = seconds
                continue
            same_place = self._seen is not None and now.pointer == self._seen.pointer
            try:
                await self.reload(keep_model=same_place)
                pause = seconds
            except (ErnieSearchError, OSError) as error:
                log("reload failed", level="error", reason=str(error))
                pause = min(2 * pause, max(LONGEST_PAUSE, seconds))

    async def tidy(self, seconds: float = TIDY_SECONDS) -> None:
        """Give back the memory that requests, writes and reloads freed, time and again, until cancelled.

        Without it a service that is written to keeps a little more of every version of its table.
        """
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(release_freed_memory)

    async def _successor(self, old: Engine | None) -> Engine:
        if old is not None and self._renew is not None:
            try:
                return await asyncio.to_thread(self._renew, old)
            except ErnieSearchError:
                pass  # another model, or no store on disk: all of it anew
        return await asyncio.to_thread(self._opener)

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
