"""Requests of many texts stand in line: one after the other, and only as many as can be done in time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from ernie_search.serve.batcher import BusyError

Result = TypeVar("Result")

TEXT_COST, LONGEST = 32, 4_000
"""Characters that a text costs beside its own, of which so many count: models cut what is longer."""

NEWEST = 0.3
"""Weight of the last piece in what is known of the speed."""

SHARE = 0.8
"""Of a request's time that its texts may take with their waiting; the rest is for the answer."""


FULL = "too many texts wait; try again later, or send fewer at a time"


class Line:
    """Who is let in is done whole: a request is refused before anything of it is worked on, or not at all.

    Worked on side by side, all would be late; one after the other, those in front are in time.
    """

    def __init__(self, seconds: float, queue: int) -> None:
        """Nobody waits, and the speed is not known yet.

        Args:
            seconds: that a request may take, from its coming to its end.
            queue: texts that may wait as long as the speed is not known.
        """
        self._seconds, self._queue = seconds * SHARE, queue
        self._turn = asyncio.Lock()
        self._ahead, self._speed = 0, 0.0
        self.waiting = 0

    async def through(
        self, pieces: Sequence[Sequence[str]], work: Callable[[Sequence[str]], Awaitable[Result]]
    ) -> list[Result]:
        """What ``work`` gives for each of the pieces, when all that came before are done; cancelling leaves.

        A request that finds nobody before it is always taken.

        Args:
            pieces: texts of one request.
            work: encodes them, say.

        Raises:
            BusyError: at the speed of the last pieces this one would be late: found on coming, or, where
                those before took longer than it seemed then, when its turn should have come.
        """
        costs = [sum(min(len(text), LONGEST) + TEXT_COST for text in piece) for piece in pieces]
        left, texts = sum(costs), sum(map(len, pieces))
        first, come = not self._ahead, time.perf_counter()
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
                    self._refuse_if_late(left, time.perf_counter() - come)
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
