"""Micro-batching: what arrives while work is under way is worked on together next; a lone one never waits."""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from ernie_search.errors import ErnieSearchError

Item = TypeVar("Item")
Result = TypeVar("Result")


class BusyError(ErnieSearchError):
    """The queue is full; the client should come back after ``seconds``."""

    def __init__(self, message: str, seconds: float = 1.0) -> None:
        """Refuse with one line."""
        super().__init__(message)
        self.seconds = max(1, math.ceil(seconds))


class ClosedError(ErnieSearchError):
    """Work was offered after the end."""


class PanicError(Exception):
    """A library gave up in a way that Python's ``Exception`` does not cover, as Rust's do."""


def contained(work: Callable[..., Result], *given: object) -> Result:
    """Run ``work`` on a thread: what it raises is an ``Exception``, which the event loop survives.

    Raises:
        PanicError: in the place of any other ``BaseException``.
        Exception: as ``work``.
    """
    try:
        return work(*given)
    except Exception:
        raise
    except BaseException as error:  # on a thread, so no interrupt and no cancelling is among them
        raise PanicError(f"{type(error).__name__}: {error}") from error


class Batcher(Generic[Item, Result]):
    """A bounded queue before one thread that works on many items at a time.

    All bookkeeping is on the event loop, so there are no locks; what ``work`` touches is only ever touched by
    the one thread, so indexes and models need not be thread-safe.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[Item]], Sequence[Result | Exception]],
        *,
        queue: int,
        together: int,
        size: Callable[[Item], int] = lambda _: 1,
        observe: Callable[[str, int], None] = lambda name, size: None,
    ) -> None:
        """Begin without work.

        Args:
            name: of the thread, and what ``observe`` is told.
            work: items to results, in their order; an exception as a result is that item's alone.
            queue: sizes that may wait, all together; one item is always taken if nothing waits.
            together: sizes that are worked on together, one item at least.
            size: of an item; one of size 0 is always taken.
            observe: told the name and the size of each batch that begins, if it has one.
        """
        self.name, self._work = name, work
        self._queue, self._together, self._size, self._observe = queue, together, size, observe
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._waiting_size = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._pump: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """Sizes that wait, those of cancelled items among them until their turn comes."""
        return self._waiting_size

    async def submit(self, item: Item, *, admitted: bool = False) -> Result:
        """Have ``item`` worked on; cancelling drops it, if its batch has not begun.

        Args:
            item: of ``work``.
            admitted: the request that it is of was taken before, so it is not refused any more.

        Raises:
            BusyError: the queue is full.
            ClosedError: after ``close``.
            Exception: what ``work`` raised or gave back for the item.
        """
        if self._closed:
            raise ClosedError(f"{self.name}: closed")
        size = self._size(item)
        if size and not admitted and self._waiting and self._waiting_size + size > self._queue:
            raise BusyError("too many requests wait; try again in a second")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._waiting_size += size
        if self._pump is None:
            self._pump = asyncio.create_task(self._run(), name=f"{self.name} batches")
        return await future

    def work_now(self, items: list[Item]) -> Sequence[Result | Exception]:
        """Work on items on the thread before there is a queue, waiting for it: what libraries keep for each
        thread (OpenMP's workers, say) is then there for the first that is submitted."""
        return self._thread.submit(self._work, items).result()

    async def close(self) -> None:
        """Finish what waits, then end the thread."""
        self._closed = True
        if self._pump is not None:
            await self._pump
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while batch := self._next():
                if total := sum(self._size(item) for item, _ in batch):
                    self._observe(self.name, total)
                try:
                    results = await loop.run_in_executor(
                        self._thread, contained, self._work, [item for item, _ in batch]
                    )
                except Exception as error:
                    results = [error] * len(batch)
                for (_, future), result in zip(batch, results, strict=True):
                    if future.done():  # cancelled while its batch was under way
                        continue
                    if isinstance(result, Exception):
                        future.set_exception(result)
                    else:
                        future.set_result(result)
        finally:
            self._pump = None

    def _next(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        total = 0
        while self._waiting:
            item, future = self._waiting[0]
            size = self._size(item)
            # What has no size, as upkeep, may take long: nothing is kept waiting by being of its batch.
            if batch and not future.done() and (total + size > self._together or not size or not total):
                break
            self._waiting.popleft()
            self._waiting_size -= size
            if not future.done():
                batch.append((item, future))
                total += size
        return batch
