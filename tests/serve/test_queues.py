"""The queues before the worker's threads: micro-batches, and requests of many texts one after another."""

import asyncio
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from ernie_search.serve.queues import AdmissionQueue, Batcher, BusyError, ClosedError
from ernie_search.serve.worker import PIECE
from tiny_service import stub


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


TEXTS = [f"text {number} " + "long " * 20 for number in range(4 * PIECE)]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank", "/v1/passages"])
def test_under_load_whoever_is_let_in_is_done(live, path):
    """Sixteen clients, of whom few can be served in time."""
    model = stub(delay=0.16)
    body = {
        "/v1/embeddings": {"input": TEXTS},
        "/v1/rerank": {"query": "long", "documents": TEXTS},
        "/v1/passages": {"passages": [{"id": text[:8].replace(" ", "-"), "text": text} for text in TEXTS]},
    }[path]
    with (
        live(model, writable=True, limits={"seconds": 6.0}) as address,
        httpx.Client(timeout=60) as client,  # one for all, as making it costs more than asking
        ThreadPoolExecutor(16) as pool,
    ):
        model.calls.clear()
        asked = [pool.submit(client.post, f"{address}{path}", json=body) for _ in range(16)]
        answers = [one.result() for one in asked]
    statuses = [one.status_code for one in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 2
    assert all(int(one.headers["retry-after"]) >= 1 for one in answers if one.status_code == 429)
    encoded = sum(texts for task, texts in model.calls if task == "passage")
    assert encoded == len(TEXTS) * statuses.count(200)  # nothing for those that were refused


def test_questions_are_answered_while_many_texts_wait(live):
    model = stub(delay=0.1)
    with live(model) as address, ThreadPoolExecutor(4) as pool:
        asked = [
            pool.submit(httpx.post, f"{address}/v1/embeddings", json={"input": TEXTS * 3}, timeout=30)
            for _ in range(3)
        ]
        while "passage" not in [task for task, _ in model.calls]:
            time.sleep(0.001)
        answer = httpx.post(f"{address}/v1/search", json={"query": "tea"}, timeout=30)
        assert answer.status_code == 200
        assert not all(one.done() for one in asked)
        assert {one.result().status_code for one in asked} <= {200, 429}


def test_the_line():
    async def main() -> None:
        line, done, gate = AdmissionQueue(seconds=100.0, queue=10), [], asyncio.Event()

        async def work(piece):
            await gate.wait()
            await asyncio.sleep(0.01)
            done.append(piece[0])
            return len(piece)

        first = asyncio.create_task(line.process([["a"] * 20, ["b"]], work))  # alone, so it is taken
        await asyncio.sleep(0)
        second = asyncio.create_task(line.process([["c"] * 9], work))
        third = asyncio.create_task(line.process([["d"] * 0, ["e"]], work))
        await asyncio.sleep(0)
        with pytest.raises(BusyError):  # before the speed is known, the queue's bound holds
            await line.process([["f"] * 9], work)
        third.cancel()
        await asyncio.gather(third, return_exceptions=True)
        assert line.waiting == 1 + 9
        gate.set()
        assert (await first, await second) == ([20, 1], [9])
        assert done == ["a", "b", "c"]
        assert (line.waiting, line._ahead) == (0, 0)

        gate.clear()
        late = asyncio.create_task(line.process([["x" * 10_000]] * 20, work))
        await asyncio.sleep(0)
        line._speed = 1000.0
        with pytest.raises(BusyError) as refused:  # 80 of 80 seconds are taken
            await line.process([["y" * 2_000]], work)
        assert math.isclose(refused.value.seconds, 3, abs_tol=1)
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
        gate.set()
        assert await line.process([["y" * 2_000]], work) == [1]

    asyncio.run(main())


def test_who_would_be_late_when_its_turn_comes_is_refused_before_anything_is_done():
    async def main() -> None:
        line, done = AdmissionQueue(seconds=0.5, queue=100), []

        async def work(piece):
            await asyncio.sleep(0.3)
            done.append(piece[0])
            return piece

        asked = [line.process([[name], [name]], work) for name in "abc"]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert found[0] == [["a"], ["a"]]  # slower than anyone knew, but it has begun
        assert [type(one) for one in found[1:]] == [BusyError, BusyError]
        assert done == ["a", "a"]
        assert (line.waiting, line._ahead, line._turn.locked()) == (0, 0, False)

    asyncio.run(main())


def test_a_failing_piece_ends_its_own_request_alone():
    async def main() -> None:
        line = AdmissionQueue(seconds=10.0, queue=10)

        async def fails(piece):
            raise ValueError("no")

        async def works(piece):
            return piece

        with pytest.raises(ValueError, match="no"):
            await line.process([["a"], ["b"]], fails)
        assert await line.process([["c"]], works) == [["c"]]
        assert (line.waiting, line._ahead) == (0, 0)

    asyncio.run(main())
