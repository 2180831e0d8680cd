"""Where a question is ranked: alone on the thread that encoded it, else on the index's; one at a time."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from ernie_search.errors import SettingsError
from ernie_search.index import Eq
from ernie_search.search import Searcher
from ernie_search.serve.batches import EncodedText, IndexJob, Plan, RankJob
from ernie_search.serve.settings import Limits
from ernie_search.serve.worker import Worker
from tiny_service import store_of, stub

PLAN = Plan("late", 2, 5)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    """That notes, in ``ranked``, which thread ranks how many, and holds what ``gate`` says."""
    model = stub()
    made: Any = Worker(Searcher(model, store_of(model)), Limits())
    made.warm_up()
    made.ranked, made.gate, group = [], threading.Event(), made.batches.rank_group
    made.gate.set()

    def noted(plan: Plan, jobs: Any) -> Any:
        assert made.batches.index_lock.locked()
        made.ranked.append((threading.current_thread().name.rpartition("_")[0], len(jobs)))
        assert made.gate.wait(30)
        return group(plan, jobs)

    made.batches.rank_group = noted
    return made


def test_a_lone_question_is_ranked_where_it_was_encoded(worker: Any) -> None:
    async def main() -> None:
        lone = await worker.search("where does tea grow", PLAN)
        assert {"encode", "rank", "wait"} <= set(lone.milliseconds)
        many = await asyncio.gather(*(worker.search("where does tea grow", PLAN) for _ in range(3)))
        assert [[hit.id for hit in one.hits] for one in many] == [[hit.id for hit in lone.hits]] * 3
        assert [one.hits for one in many] == [lone.hits] * 3
        await worker.close()

    asyncio.run(main())
    assert worker.ranked[0] == ("encode", 1)
    assert sum(number for _, number in worker.ranked[1:]) == 3
    assert ("rank", 3) in worker.ranked[1:] or ("rank", 2) in worker.ranked[1:]


def test_while_the_index_is_busy_it_is_handed_over(worker: Any) -> None:
    async def main() -> None:
        worker.gate.clear()
        writing = asyncio.create_task(worker._rank.submit(IndexJob(lambda: worker.gate.wait(30))))
        while not worker.batches.index_lock.locked():
            await asyncio.sleep(0.001)
        asked = asyncio.create_task(worker.search("where does tea grow", PLAN))
        while worker._rank.waiting == 0:  # encoded, and waits for the index
            await asyncio.sleep(0.001)
        worker.gate.set()
        await writing
        assert (await asked).hits
        await worker.close()

    asyncio.run(main())
    assert worker.ranked == [("rank", 1)]


def test_what_fails_alone_fails_alone(worker: Any) -> None:
    async def main() -> None:
        with pytest.raises(Exception, match="mode"):
            await worker.search("where does tea grow", Plan("no-such-mode", 2, 5))
        assert (await worker.search("where does tea grow", PLAN)).hits
        assert not worker.batches.index_lock.locked()
        await worker.close()

    asyncio.run(main())


def test_filters_that_python_takes_for_equal_are_not_searched_as_one(worker: Any) -> None:
    async def main() -> None:
        wrong, right = (Plan("words", 2, 5, Eq("year", value)) for value in (True, 1))
        assert wrong == right
        for order in ((wrong, right), (right, wrong)):
            jobs = [RankJob(plan, worker.row, "tea") for plan in order]
            found = dict(zip(order_of(order), worker.batches.rank(jobs), strict=True))
            assert [hit.id for hit in found["right"].hits] == ["hostile"]
            assert isinstance(found["wrong"], SettingsError)
        await worker.close()

    def order_of(plans: Any) -> list[str]:
        return ["wrong" if plan.where.value is True else "right" for plan in plans]

    worker.row = EncodedText(np.ones(128, np.float32))
    asyncio.run(main())
