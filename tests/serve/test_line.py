"""Requests of many texts: refused whole and at once, or done whole and in time."""

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from ernie_search.serve.batcher import BusyError
from ernie_search.serve.line import Line
from ernie_search.serve.worker import PIECE
from tiny_service import stub

TEXTS = [f"text {number} " + "long " * 20 for number in range(4 * PIECE)]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank", "/v1/passages"])
def test_under_load_whoever_is_let_in_is_done(live, path):
    """Forty clients, of whom few can be served in time."""
    model = stub(delay=0.08)
    body = {
        "/v1/embeddings": {"input": TEXTS},
        "/v1/rerank": {"query": "long", "documents": TEXTS},
        "/v1/passages": {"passages": [{"id": text[:8].replace(" ", "-"), "text": text} for text in TEXTS]},
    }[path]
    with live(model, writable=True, limits={"seconds": 3.0}) as address, ThreadPoolExecutor(40) as pool:
        model.calls.clear()
        asked = [pool.submit(httpx.post, f"{address}{path}", json=body, timeout=30) for _ in range(40)]
        answers = [one.result() for one in asked]
    statuses = [one.status_code for one in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 2
    assert all(int(one.headers["retry-after"]) >= 1 for one in answers if one.status_code == 429)
    encoded = sum(texts for task, texts in model.calls if task == "passage")
    assert encoded == len(TEXTS) * statuses.count(200)  # nothing for those that were refused


def test_questions_are_answered_while_many_texts_wait(live):
    model = stub(delay=0.02)
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
        line, done, gate = Line(seconds=100.0, queue=10), [], asyncio.Event()

        async def work(piece):
            await gate.wait()
            await asyncio.sleep(0.01)
            done.append(piece[0])
            return len(piece)

        first = asyncio.create_task(line.through([["a"] * 20, ["b"]], work))  # alone, so it is taken
        await asyncio.sleep(0)
        second = asyncio.create_task(line.through([["c"] * 9], work))
        third = asyncio.create_task(line.through([["d"] * 0, ["e"]], work))
        await asyncio.sleep(0)
        with pytest.raises(BusyError):  # before the speed is known, the queue's bound holds
            await line.through([["f"] * 9], work)
        third.cancel()
        await asyncio.gather(third, return_exceptions=True)
        assert line.waiting == 1 + 9
        gate.set()
        assert (await first, await second) == ([20, 1], [9])
        assert done == ["a", "b", "c"]
        assert (line.waiting, line._ahead) == (0, 0)

        gate.clear()
        late = asyncio.create_task(line.through([["x" * 10_000]] * 20, work))
        await asyncio.sleep(0)
        line._speed = 1000.0
        with pytest.raises(BusyError) as refused:  # 80 of 80 seconds are taken
            await line.through([["y" * 2_000]], work)
        assert math.isclose(refused.value.seconds, 3, abs_tol=1)
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
        gate.set()
        assert await line.through([["y" * 2_000]], work) == [1]

    asyncio.run(main())


def test_who_would_be_late_when_its_turn_comes_is_refused_before_anything_is_done():
    async def main() -> None:
        line, done = Line(seconds=0.5, queue=100), []

        async def work(piece):
            await asyncio.sleep(0.3)
            done.append(piece[0])
            return piece

        asked = [line.through([[name], [name]], work) for name in "abc"]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert found[0] == [["a"], ["a"]]  # slower than anyone knew, but it has begun
        assert [type(one) for one in found[1:]] == [BusyError, BusyError]
        assert done == ["a", "a"]
        assert (line.waiting, line._ahead, line._turn.locked()) == (0, 0, False)

    asyncio.run(main())


def test_a_failing_piece_ends_its_own_request_alone():
    async def main() -> None:
        line = Line(seconds=10.0, queue=10)

        async def fails(piece):
            raise ValueError("no")

        async def works(piece):
            return piece

        with pytest.raises(ValueError, match="no"):
            await line.through([["a"], ["b"]], fails)
        assert await line.through([["c"]], works) == [["c"]]
        assert (line.waiting, line._ahead) == (0, 0)

    asyncio.run(main())
