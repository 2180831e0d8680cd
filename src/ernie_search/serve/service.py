"""The engine in use and its successor: a new index or model is taken up without dropping a request."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from ernie_search._util.hardware import release_freed_memory
from ernie_search.errors import ErnieSearchError, IndexStateError, StorageError
from ernie_search.serve.batcher import contained
from ernie_search.serve.opening import Seen
from ernie_search.serve.telemetry import log
from ernie_search.serve.worker import Engine

T = TypeVar("T")

Opener = Callable[[], Engine]
"""Opens index and model anew; called on a thread of its own."""

Renewer = Callable[[Engine], Engine]
"""Opens the same index anew under the model that the engine has loaded; called on a thread of its own."""

TIDY_SECONDS = 30.0

REST, LONGEST_REST = 9.0, 300.0
"""A try to take up what cannot be opened is followed by a rest of so many times the seconds that it took, at
most so many: reading a large damaged index again and again must not take the disk from the one in use."""


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
        self._swapping = False
        self._open = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self.version = 0
        self.draining = False

    @property
    def ready(self) -> bool:
        """Whether questions are answered, be it after a reload that is under way."""
        sound = self._current is not None and self._current.trouble is None
        return (sound or self._swapping) and not self.draining

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

        A request that fails because the index is gone or damaged ends with ``UnreadyError``, as do those
        after it, until ``watch`` finds the index whole again.

        Raises:
            UnreadyError: nothing is open, or what is open cannot be read any more.
        """
        await self._open.wait()
        engine = self._current
        if engine is None:
            raise UnreadyError("no index is open; see the service's log")
        self._users[engine] += 1
        try:
            yield engine
        except Exception as error:
            if _may_be_the_index(error) and not await self._is_sound(engine, thorough=True):
                raise UnreadyError("the index cannot be read; see the service's log") from error
            raise
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
        the index admits one opening at a time, nothing is open then, until ``watch`` succeeds).

        Raises:
            ErnieSearchError: as the opener; whatever else it raised has become one line of ours.
        """
        async with self._reloading:
            old, seen = self._current, await _aside(self._look)
            if self._exclusive and old is not None:
                self._open.clear()
                self._swapping, self._current = old.trouble is None, None
                try:
                    await self._retire(old)
                    self._current = await _aside(self._opener)
                    self._users[self._current] = 0
                finally:
                    self._swapping = False
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

        What cannot be opened is logged once a change and tried again at the next look (see ``REST``), while
        the old stays in use. What is open is looked after, too: where it was lost, or closed by a reload that
        failed, it is opened again as soon as that is possible.
        """
        clock = asyncio.get_running_loop().time
        failed: Seen | None = None
        said: tuple[Seen | None, str] | None = None
        rested = 0.0
        while True:
            await asyncio.sleep(seconds)
            now = await self._looked()
            changed = now is not None and now != self._seen
            if not changed and self._current is not None and await self._is_sound(self._current):
                failed, said, rested = None, None, 0.0
                continue
            if now == failed and clock() < rested:
                continue
            began = clock()
            try:
                await self.reload(keep_model=now is None or self._is_same_place(now))
            except ErnieSearchError as error:
                if changed and said != (now, str(error)):  # of what was lost, the log knows already
                    said = (now, str(error))
                    log("reload failed", level="error", reason=str(error))
                failed, rested = now, clock() + min(REST * (clock() - began), LONGEST_REST)

    async def tidy(self, seconds: float = TIDY_SECONDS) -> None:
        """Give back the memory that requests, writes and reloads freed, time and again, until cancelled.

        Without it a service that is written to keeps a little more of every version of its table.
        """
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(release_freed_memory)

    async def _successor(self, old: Engine | None) -> Engine:
        if old is not None and self._renew is not None:
            renew = self._renew
            try:
                return await _aside(lambda: renew(old))
            except ErnieSearchError:
                pass  # another model, or no index on disk: all of it anew
        return await _aside(self._opener)

    async def _looked(self) -> Seen | None:
        try:
            return await _aside(self._look)
        except ErnieSearchError:  # as where the files cannot be read
            return None

    def _is_same_place(self, now: Seen) -> bool:
        return self._seen is not None and now.pointer == self._seen.pointer

    async def _is_sound(self, engine: Engine, *, thorough: bool = False) -> bool:
        """Whether the engine's index can be read; the log is told when that changes."""
        before = engine.trouble
        if before is not None and thorough:
            return False  # a request's turn: only ``watch`` tries again
        try:
            found = await engine.examine(thorough=thorough or before is not None)
        except ErnieSearchError:  # closed meanwhile: nothing is known
            return before is None
        if found is not None and engine.trouble is None:
            log("index lost", level="error", reason=found)
        elif found is None and before is not None:
            log("index back")
        engine.trouble = found
        return found is None

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
        try:
            await engine.close()
        except Exception as error:
            log("close failed", level="error", reason=f"{type(error).__name__}: {error}")


async def _aside(work: Callable[[], T]) -> T:
    """What ``work`` gives, run on a thread of its own; whatever it raises is one of our errors."""
    try:
        return await asyncio.to_thread(contained, work)
    except ErnieSearchError:
        raise
    except Exception as error:
        line = str(error).strip().partition("\n")[0]
        raise IndexStateError(f"could not be opened: {type(error).__name__}: {line}") from error


def _may_be_the_index(error: Exception) -> bool:
    if isinstance(error, ErnieSearchError):
        return isinstance(error, IndexStateError | StorageError)
    return not isinstance(error, TimeoutError)
