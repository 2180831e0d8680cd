"""What arrives while work is under way is worked on together next; nothing waits without need."""

import asyncio
import threading
import time

import pytest

from ernie_search.serve.batcher import Batcher, BusyError, ClosedError


class Slow:
    """Doubles numbers, and holds its first batch until told to go on."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()

    def __call__(self, items: list[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        if len(self.batches) == 1:
            assert self.go.wait(5)
        return [ValueError("odd") if item % 2 else item * 2 for item in items]


async def begun(work: Slow) -> None:
    while not work.batches:
        await asyncio.sleep(0.001)


def test_a_lone_item_does_not_wait():
    async def main() -> None:
        batcher = Batcher("t", lambda items: items, queue=8, together=8)
        for number in range(5):
            assert await batcher.submit(number) == number
        await batcher.close()

    asyncio.run(main())


def test_what_arrives_meanwhile_goes_together():
    async def main() -> None:
        work = Slow()
        batcher = Batcher("t", work, queue=100, together=4)
        first = asyncio.create_task(batcher.submit(0))
        await begun(work)
        rest = [asyncio.create_task(batcher.submit(number)) for number in (2, 4, 6, 8, 10, 12)]
        await asyncio.sleep(0)
        assert batcher.waiting == 6
        work.go.set()
        assert await first == 0
        assert await asyncio.gather(*rest) == [4, 8, 12, 16, 20, 24]
        assert work.batches == [[0], [2, 4, 6, 8], [10, 12]]
        await batcher.close()

    asyncio.run(main())


def test_a_full_queue_refuses_and_recovers():
    async def main() -> None:
        work = Slow()
        batcher = Batcher("t", work, queue=2, together=8)
        tasks = [asyncio.create_task(batcher.submit(0))]
        await begun(work)
        tasks += [asyncio.create_task(batcher.submit(number)) for number in (2, 4)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await batcher.submit(6)
        work.go.set()
        assert await asyncio.gather(*tasks) == [0, 4, 8]
        assert await batcher.submit(6) == 12
        await batcher.close()

    asyncio.run(main())


def test_one_item_larger_than_the_queue_is_taken_if_nothing_waits():
    async def main() -> None:
        batcher = Batcher("t", lambda items: items, queue=2, together=2, size=len)
        assert await batcher.submit("long") == "long"
        await batcher.close()

    asyncio.run(main())


def test_a_cancelled_item_is_never_worked_on():
    async def main() -> None:
        work = Slow()
        batcher = Batcher("t", work, queue=2, together=8)
        first = asyncio.create_task(batcher.submit(0))
        await begun(work)
        dropped, kept = (asyncio.create_task(batcher.submit(number)) for number in (2, 4))
        await asyncio.sleep(0)
        dropped.cancel()
        await asyncio.gather(dropped, return_exceptions=True)
        work.go.set()
        assert await first == 0
        assert await kept == 8
        assert work.batches == [[0], [4]]
        assert batcher.waiting == 0
        await batcher.close()

    asyncio.run(main())


def test_one_failure_is_one_item_s_alone_and_a_broken_batch_all_items():
    async def main() -> None:
        work = Slow()
        work.go.set()
        batcher = Batcher("t", work, queue=8, together=8)
        found = await asyncio.gather(*(batcher.submit(n) for n in (0, 1, 2)), return_exceptions=True)
        assert [type(one) for one in found] == [int, ValueError, int]
        await batcher.close()

        def broken(items: list[int]) -> list[int]:
            raise OSError("gone")

        batcher = Batcher("t", broken, queue=8, together=8)
        found = await asyncio.gather(*(batcher.submit(n) for n in (0, 1)), return_exceptions=True)
        assert [type(one) for one in found] == [OSError, OSError]
        await batcher.close()

    asyncio.run(main())


def test_close_finishes_what_waits_and_takes_no_more():
    async def main() -> None:
        batcher = Batcher("t", lambda items: time.sleep(0.01) or items, queue=8, together=1)
        tasks = [asyncio.create_task(batcher.submit(number)) for number in range(3)]
        await asyncio.sleep(0)
        await batcher.close()
        assert await asyncio.gather(*tasks) == [0, 1, 2]
        with pytest.raises(ClosedError):
            await batcher.submit(1)

    asyncio.run(main())
