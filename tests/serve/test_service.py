"""Batches, full queues, clients that leave, reloads and the end: on a real port."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ernie_search.search import Searcher
from ernie_search.search.opening import Seen
from ernie_search.serve import create_app
from ernie_search.serve.service import Service
from ernie_search.serve.settings import Limits, make_settings
from ernie_search.serve.worker import Worker
from tiny_service import app_of, listening, store_of, stub

QUESTION = {"query": "where does tea grow", "k": 2}


def ask(address: str, **body) -> httpx.Response:
    return httpx.post(f"{address}/v1/search", json={**QUESTION, **body}, timeout=60)


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


@contextmanager
def held(model) -> Iterator[threading.Event]:
    """The model's work does not go on before the block ends; the event says that it has begun."""
    model.calls.clear()
    begun, gate, encode = threading.Event(), threading.Event(), model.encode_joint

    def wait(*arguments, **options):
        begun.set()
        assert gate.wait(60)
        return encode(*arguments, **options)

    model.encode_joint = wait
    try:
        yield begun
    finally:
        gate.set()


def shows(address: str, line: str) -> bool:
    return line in httpx.get(f"{address}/metrics", timeout=30).text


def test_questions_that_arrive_meanwhile_are_encoded_together(live):
    model = stub()
    with live(model) as address, ThreadPoolExecutor(8) as pool:
        with held(model) as begun:
            first = pool.submit(ask, address)
            assert begun.wait(30)
            rest = [pool.submit(ask, address, mode=mode) for mode in ("dense", "late", "dense", "hybrid")]
            wait_for(lambda: shows(address, "ernie_search_waiting 4.0"))
        answers = [one.result() for one in (first, *rest)]
        assert [one.status_code for one in answers] == [200] * 5
        assert model.calls == [("query", 1), ("query", 4)]


def test_a_full_queue_answers_429_and_recovers(live):
    model = stub()
    with live(model, limits={"queue": 2}) as address, ThreadPoolExecutor(8) as pool:
        with held(model) as begun:
            first = pool.submit(ask, address)
            assert begun.wait(30)
            rest = [pool.submit(ask, address) for _ in range(5)]
            wait_for(lambda: sum(one.done() for one in rest) == 3)
        answers = [one.result() for one in (first, *rest)]
        refused = [one for one in answers if one.status_code == 429]
        assert len(refused) == 3
        assert all(int(one.headers["retry-after"]) >= 1 for one in refused)
        assert ask(address).status_code == 200


def test_a_client_that_leaves_costs_nothing_more(live):
    model = stub()
    with live(model) as address, ThreadPoolExecutor(8) as pool:
        with held(model) as begun:
            first = pool.submit(ask, address)
            assert begun.wait(30)
            host, port = address.removeprefix("http://").split(":")
            body = b'{"query": "never read"}'
            with socket.create_connection((host, int(port))) as leaving:
                leaving.sendall(
                    b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
                )
                wait_for(lambda: shows(address, "ernie_search_waiting 1.0"))
            wait_for(lambda: shows(address, "ernie_search_cancelled_total 1.0"))
        assert first.result().status_code == 200
        assert ask(address).status_code == 200
        assert model.calls == [("query", 1), ("query", 1)]


def test_a_reload_drops_no_request(tmp_path):
    settings = make_settings()
    opened: list[Worker] = []

    def opener() -> Worker:
        model = stub(delay=0.005)
        worker = Worker(Searcher(model, store_of(model)), settings.limits)
        worker.warm_up()
        opened.append(worker)
        return worker

    with listening(create_app(settings, opener)) as address, ThreadPoolExecutor(4) as pool:
        stop = threading.Event()

        def keep_asking() -> list[httpx.Response]:
            answers = []
            while not stop.is_set():
                answers.append(ask(address))
            return answers

        clients = [pool.submit(keep_asking) for _ in range(3)]
        for version in (2, 3):
            assert httpx.post(f"{address}/v1/reload", timeout=60).json() == {"index_version": version}
        stop.set()
        answers = [one for client in clients for one in client.result()]
        assert {one.status_code for one in answers} == {200}
        assert len(opened) == 3
        assert ask(address).json()["index_version"] == 3


def test_a_reload_that_fails_keeps_the_old(tmp_path):
    from ernie_search.errors import IndexStateError

    settings = make_settings()
    model = stub()
    first = [Worker(Searcher(model, store_of(model)), settings.limits)]
    first[0].warm_up()

    def opener() -> Worker:
        if first:
            return first.pop()
        raise IndexStateError("/a/secret/path: damaged")

    with listening(create_app(settings, opener)) as address:
        answer = httpx.post(f"{address}/v1/reload", timeout=60)
        assert answer.status_code == 503
        assert "secret" not in answer.text
        assert ask(address).status_code == 200
        assert httpx.get(f"{address}/readyz").status_code == 200


def test_requests_wait_where_only_one_may_have_the_index_open():
    """A writer's reload closes the old before it opens the new."""

    async def main() -> None:
        model = stub()
        open_now: list[Worker] = []

        def opener() -> Worker:
            assert not open_now, "the old one was still open"
            worker = Worker(Searcher(model, store_of(model)), Limits(), writable=True)
            close = worker.close

            async def closed() -> None:
                await close()
                open_now.remove(worker)

            worker.close = closed
            open_now.append(worker)
            return worker

        service = Service(opener, exclusive=True)
        await service.start()

        async def use() -> int:
            async with service.lease() as worker:
                await asyncio.sleep(0.01)
                await worker.encode(["tea"], "query", tokens=True)
                return 1

        users = [asyncio.create_task(use()) for _ in range(3)]
        await asyncio.sleep(0)
        reload = asyncio.create_task(service.reload())
        await asyncio.sleep(0)
        users += [asyncio.create_task(use()) for _ in range(3)]
        while service.current is not None and not reload.done():
            await asyncio.sleep(0)
        assert service.ready  # they are answered, only later
        assert sum(await asyncio.gather(*users)) == 6
        assert await reload == 2
        await service.close()
        assert not open_now

    asyncio.run(main())


def test_a_pointer_moved_between_two_looks_is_another_place():
    """``watch`` saw a commit; before ``reload`` looks, the pointer is moved."""

    async def main() -> None:
        model, seen, opened = stub(), [Seen(b"one", b"1")], []

        def worker(how: str) -> Worker:
            opened.append(how)
            return Worker(Searcher(model, store_of(model)), Limits())

        service = Service(lambda: worker("all"), look=lambda: seen[-1], renew=lambda old: worker("the index"))
        await service.start()
        seen.append(Seen(b"one", b"2"))
        await service.reload(keep_model=True)
        seen.append(Seen(b"two", b"2"))
        await service.reload(keep_model=True)
        assert opened == ["all", "the index", "all"]
        await service.close()

    asyncio.run(main())


def test_a_changed_pointer_is_taken_up(tmp_path):
    pointer = tmp_path / "current"
    pointer.write_text("index-1\n")
    app, _ = app_of(index=str(pointer), watch_seconds=0.02)
    with listening(app) as address:
        assert httpx.get(f"{address}/v1/info").json()["index_version"] == 1
        pointer.write_text("index-2\n")
        wait_for(lambda: httpx.get(f"{address}/v1/info").json()["index_version"] == 2)


SERVER = """
import sys
sys.path.append(sys.argv[1])
from tiny_service import stub, store_of
from ernie_search.search import Searcher
from ernie_search.serve import run
from ernie_search.serve.worker import Worker
from ernie_search.serve.settings import make_settings

settings, model = make_settings(port=0), stub()

def opener():
    worker = Worker(Searcher(model, store_of(model)), settings.limits)
    worker.warm_up()
    model.delay = 0.5
    return worker

run(settings, lambda line: print(line, flush=True), opener)
"""


def test_sigterm_lets_requests_finish():
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(Path(__file__).parent.parent)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    try:
        line = server.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), server.stderr.read()
        assert "5 passages, modes words, dense, late, hybrid" in line
        address = line.split()[0]
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ask, address)
            wait_for(lambda: answer.done() or shows(address, "ernie_search_in_flight 1.0"))
            server.send_signal(signal.SIGTERM)
            assert answer.result().status_code == 200
        assert server.wait(60) == 0
        with pytest.raises(httpx.ConnectError):
            ask(address)
        log = server.stderr.read()
        assert '"event": "closed"' in log
        assert "tea" not in log
    finally:
        server.kill()
        server.communicate()
