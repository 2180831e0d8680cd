"""The service: lends the worker to requests, and replaces it without dropping one when the index changes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from ernie_search._util.hardware import release_freed_memory
from ernie_search.errors import ErnieSearchError, IndexStateError, SettingsError, StorageError
from ernie_search.search.opening import Seen
from ernie_search.serve.queues import contained
from ernie_search.serve.telemetry import log
from ernie_search.serve.worker import Worker

T = TypeVar("T")

Opener = Callable[[], Worker]
"""Opens the index and its model; called on a thread of its own."""

Renewer = Callable[[Worker], Worker]
"""Opens the index again with the model that the worker has loaded; called on a thread of its own."""

TIDY_SECONDS = 30.0

REST, LONGEST_REST = 9.0, 300.0
"""After a failed attempt to open an index, the pause until the next one: a multiple of the seconds that the
attempt took, and its upper bound. Otherwise a large damaged index would be read all the time, and slow down
the one in use."""


class UnreadyError(ErnieSearchError):
    """No index is open, or the open one cannot be read."""


class Service:
    """Lends the worker to requests, and replaces it while they finish."""

    def __init__(
        self,
        opener: Opener,
        *,
        exclusive: bool = False,
        look: Callable[[], Seen | None] = lambda: None,
        renew: Renewer | None = None,
    ) -> None:
        """Make a service that has nothing open yet.

        Args:
            opener: see ``Opener``.
            exclusive: whether the index can be opened only once (by one writer). On a reload requests then
                wait while it is closed and opened, instead of using the old one until the new one is open.
            look: returns the state of the index on disk; see ``watch``.
            renew: see ``Renewer``; without it the model is loaded on every reload.
        """
        self._opener, self._exclusive = opener, exclusive
        self._look, self._renew = look, renew
        self._seen = look()  # before it is opened, so that no change is missed
        self._current: Worker | None = None
        self._users: dict[Worker, int] = {}
        self._idle = asyncio.Condition()
        self._reloading = asyncio.Lock()
        self._swapping = False
        self._open = asyncio.Event()
        self._background: set[asyncio.Task[None]] = set()
        self.version = 0
        self.draining = False

    @property
    def ready(self) -> bool:
        """Whether questions are answered, at once or after the reload in progress."""
        sound = self._current is not None and self._current.trouble is None
        return (sound or self._swapping) and not self.draining

    @property
    def current(self) -> Worker | None:
        """The worker that new requests get, for metrics only; requests use ``lease``."""
        return self._current

    async def start(self) -> None:
        """Open index and model for the first time.

        Raises:
            ErnieSearchError: whatever the opener raises.
        """
        self._current = await asyncio.to_thread(self._opener)
        self._users[self._current] = 0
        self.version += 1
        self._open.set()

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator[Worker]:
        """The worker for one request; it stays open until the request has ended.

        If a request fails because the index is missing or damaged, it and all later ones end with
        ``UnreadyError`` until ``watch`` finds the index readable again.

        Raises:
            UnreadyError: no index is open, or the open index can no longer be read.
        """
        await self._open.wait()
        worker = self._current
        if worker is None:
            raise UnreadyError("no index is open; see the service's log")
        self._users[worker] += 1
        try:
            yield worker
        except Exception as error:
            if _may_be_the_index(error) and not await self._is_sound(worker, thorough=True):
                raise UnreadyError("the index cannot be read; see the service's log") from error
            raise
        finally:
            self._users[worker] -= 1
            if self._users[worker] == 0:
                async with self._idle:
                    self._idle.notify_all()

    async def reload(self, *, keep_model: bool = False) -> int:
        """Open index and model again, for all requests from now on.

        Requests in flight finish with the old worker. If opening fails, it stays in use; but an exclusive
        index is then closed until ``watch`` succeeds.

        Args:
            keep_model: keep the loaded model if it also made the new index, and no pointer was moved.

        Returns:
            The number of the new index version.

        Raises:
            ErnieSearchError: whatever the opener raises; other exceptions become an ``IndexStateError``.
        """
        async with self._reloading:
            old, seen = self._current, await _on_thread(self._look)
            if self._exclusive and old is not None:
                self._open.clear()
                self._swapping, self._current = old.trouble is None, None
                try:
                    await self._retire(old)
                    self._current = await _on_thread(self._opener)
                    self._users[self._current] = 0
                finally:
                    self._swapping = False
                    self._open.set()
            else:
                same = seen is None or self._is_same_place(seen)
                new = await self._successor(old if keep_model and same else None)
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
        """Reload whenever the index changes on disk (another pointer, a new commit); runs until cancelled.

        A change that cannot be opened is logged once and tried again later (see ``REST``), while the old
        index stays in use. The open index is checked as well: if it was lost, or closed by a failed reload,
        it is opened again as soon as possible.
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
                await self.reload(keep_model=True)
            except ErnieSearchError as error:
                if changed and said != (now, str(error)):  # a lost index was logged when it was lost
                    said = (now, str(error))
                    log("reload failed", level="error", reason=str(error))
                failed, rested = now, clock() + min(REST * (clock() - began), LONGEST_REST)

    async def tidy(self, seconds: float = TIDY_SECONDS) -> None:
        """Return freed memory to the system, again and again until cancelled.

        Otherwise a service with writes keeps some memory of every version of its table.
        """
        while True:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(release_freed_memory)

    async def _successor(self, old: Worker | None) -> Worker:
        if old is not None and self._renew is not None:
            renew = self._renew
            # Of another model, or not on disk: everything is opened. What cannot be read is tried later.
            with contextlib.suppress(SettingsError):
                return await _on_thread(lambda: renew(old))
        return await _on_thread(self._opener)

    async def _looked(self) -> Seen | None:
        try:
            return await _on_thread(self._look)
        except ErnieSearchError:  # treated like files that cannot be read
            return None

    def _is_same_place(self, now: Seen) -> bool:
        return self._seen is not None and now.pointer == self._seen.pointer

    async def _is_sound(self, worker: Worker, *, thorough: bool = False) -> bool:
        """Whether the worker's index can be read; a change of that is logged."""
        before = worker.trouble
        if before is not None and thorough:
            return False  # called by a request, while only ``watch`` checks a lost index again
        try:
            found = await worker.examine(thorough=thorough or before is not None)
        except ErnieSearchError:  # closed meanwhile, so nothing is known
            return before is None
        if found is not None and worker.trouble is None:
            log("index lost", level="error", reason=found)
        elif found is None and before is not None:
            log("index back")
        worker.trouble = found
        return found is None

    async def close(self) -> None:
        """Wait for the requests in flight, then close everything."""
        self.draining = True
        for task in list(self._background):
            await task
        if self._current is not None:
            await self._retire(self._current)
            self._current = None

    async def _retire(self, worker: Worker) -> None:
        async with self._idle:
            await self._idle.wait_for(lambda: self._users[worker] == 0)
        del self._users[worker]
        try:
            await worker.close()
        except Exception as error:
            log("close failed", level="error", reason=f"{type(error).__name__}: {error}")


async def _on_thread(work: Callable[[], T]) -> T:
    """Call ``work`` on a thread of its own; any exception becomes one of our errors."""
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
