"""The queues before the worker's threads: micro-batches of short requests, long requests one by one.

``Batcher``: items that arrive during a batch form the next one; an item that finds the thread free is
processed at once. ``AdmissionQueue``: requests of many texts, refused if they could not be finished in time.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from ernie_search.errors import ErnieSearchError

Item = TypeVar("Item")
Result = TypeVar("Result")


class BusyError(ErnieSearchError):
    """The queue is full; the client may try again after ``seconds``."""

    def __init__(self, message: str, seconds: float = 1.0) -> None:
        """Make it from one line, and seconds that are rounded up."""
        super().__init__(message)
        self.seconds = max(1, math.ceil(seconds))


class ClosedError(ErnieSearchError):
    """An item was submitted after ``close``."""


class PanicError(Exception):
    """A library raised a ``BaseException`` that is no ``Exception``, such as a panic in Rust code."""


def contained(work: Callable[..., Result], *given: object) -> Result:
    """Call ``work`` so that it raises nothing but an ``Exception``, which the event loop survives.

    Raises:
        PanicError: instead of any other ``BaseException``.
        Exception: whatever ``work`` raises.
    """
    try:
        return work(*given)
    except Exception:
        raise
    except BaseException as error:  # on a thread, so neither KeyboardInterrupt nor cancellation
        raise PanicError(f"{type(error).__name__}: {error}") from error


class Batcher(Generic[Item, Result]):
    """A bounded queue before one thread, which processes items in batches.

    The queue is kept by the event loop, so there are no locks. Only the one thread calls ``work``, so indexes
    and models need not be thread-safe.
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
        """Make an empty queue and its thread.

        Args:
            name: of the thread, also passed to ``observe``.
            work: items to results, in their order; an exception as a result is raised for that item alone.
            queue: largest total size of waiting items; an empty queue takes an item of any size.
            together: largest total size of a batch; a batch has at least one item.
            size: of an item; one of size 0 is never refused.
            observe: called with name and size of each batch, unless its size is 0.
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
        """Total size of waiting items, including cancelled ones that were not removed yet."""
        return self._waiting_size

    async def submit(self, item: Item, *, admitted: bool = False) -> Result:
        """Wait for the result of ``item``; cancelling removes it, unless its batch has begun.

        Args:
            item: for ``work``.
            admitted: its request was admitted before, so the item is taken even if the queue is full.

        Raises:
            BusyError: the queue is full.
            ClosedError: after ``close``.
            Exception: what ``work`` raised, or returned for this item.
        """
        if self._closed:
            raise ClosedError(f"{self.name}: closed")
        size = self._size(item)
        if size and not admitted and self._waiting and self._waiting_size + size > self._queue:
            raise BusyError("the queue is full; try again in a second")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._waiting_size += size
        if self._pump is None:
            self._pump = asyncio.create_task(self._run(), name=f"{self.name} batches")
        return await future

    def work_now(self, items: list[Item]) -> Sequence[Result | Exception]:
        """Process items on the thread and block until done: libraries then have what they keep per thread.

        OpenMP, for example, starts its own threads on the first call from each thread.
        """
        return self._thread.submit(self._work, items).result()

    async def close(self) -> None:
        """Process what is in the queue, then end the thread."""
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
                    if future.done():  # cancelled during its batch
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
            # An item without size is upkeep, which may take long: it is a batch of its own.
            if batch and not future.done() and (total + size > self._together or not size or not total):
                break
            self._waiting.popleft()
            self._waiting_size -= size
            if not future.done():
                batch.append((item, future))
                total += size
        return batch


TEXT_COST, LONGEST = 32, 4_000
"""Cost of a text: a constant, and its characters up to ``LONGEST``, since models truncate longer texts."""

NEWEST = 0.3
"""Weight of the newest piece in the moving average of the speed."""

SHARE = 0.8
"""Share of a request's time limit for waiting and processing; the rest is for writing the answer."""

FULL = "the queue is full; try again later, or send fewer texts at a time"


class AdmissionQueue:
    """Long requests, one after another; one that would be late is refused before its first text is processed.

    Processed side by side, all of them would be late; one after another, the first ones are in time.
    """

    def __init__(self, seconds: float, queue: int) -> None:
        """Make an empty queue; the speed is measured as texts are processed.

        Args:
            seconds: time limit of a request, from its arrival.
            queue: most texts that may wait before a speed has been measured.
        """
        self._seconds, self._queue = seconds * SHARE, queue
        self._turn = asyncio.Lock()
        self._ahead, self._speed = 0, 0.0
        self.waiting = 0

    async def process(
        self, pieces: Sequence[Sequence[str]], work: Callable[[Sequence[str]], Awaitable[Result]]
    ) -> list[Result]:
        """Process the texts of one request after those of all earlier ones; cancelling gives up the place.

        A request that finds the queue empty is always taken.

        Args:
            pieces: the request's texts.
            work: called with each piece.

        Returns:
            What ``work`` returned for each piece.

        Raises:
            BusyError: at the measured speed the request would be late. This is checked on arrival, and once
                more before its first piece, in case the earlier requests took longer than expected.
        """
        costs = [sum(min(len(text), LONGEST) + TEXT_COST for text in piece) for piece in pieces]
        left, texts = sum(costs), sum(map(len, pieces))
        first, arrived = not self._ahead, time.perf_counter()
        if not first:
            self._refuse_if_late(self._ahead + left, 0.0)
            if not self._speed and self.waiting + texts > self._queue:
                raise BusyError(FULL)
        self._ahead += left
        self.waiting += texts
        results = []
        try:
            await self._in_turn()
            try:
                if not first:
                    self._refuse_if_late(left, time.perf_counter() - arrived)
                for piece, cost in zip(pieces, costs, strict=True):
                    texts, self.waiting = texts - len(piece), self.waiting - len(piece)
                    started = time.perf_counter()
                    results.append(await work(piece))
                    speed = cost / max(time.perf_counter() - started, 1e-6)
                    self._speed += (speed - self._speed) * (NEWEST if self._speed else 1.0)
                    left, self._ahead = left - cost, self._ahead - cost
            finally:
                self._turn.release()
        finally:
            self._ahead -= left
            self.waiting -= texts
        return results

    async def _in_turn(self) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await self._turn.acquire()
        except TimeoutError:
            raise BusyError(FULL) from None

    def _refuse_if_late(self, cost: int, waited: float) -> None:
        late = waited + cost / self._speed - self._seconds if self._speed else 0.0
        if late > 0:
            raise BusyError(FULL, late)
