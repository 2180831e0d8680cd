"""Idle and stalled connections are closed, their number is bounded, and the log stays short."""

import errno
import http.client
import logging
import socket
import time
from contextlib import ExitStack
from types import SimpleNamespace

import httpx
import pytest

from ernie_search.serve import server
from ernie_search.serve.settings import make_settings
from tiny_service import listening, stub

ASK = (
    b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b'Content-Length: 16\r\n\r\n{"query": "tea"}'
)
HELD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "


def connected(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=5)


def answer(sock: socket.socket) -> int:
    found = http.client.HTTPResponse(sock)
    found.begin()
    found.read()
    return found.status


def until_closed(sock: socket.socket, drip: bytes = b"") -> float:
    """Seconds until the other side closes; one byte is sent all the time."""
    began = time.monotonic()
    sock.settimeout(0.05)
    while time.monotonic() < began + 5:
        try:
            sock.sendall(drip)
            if not sock.recv(100):
                return time.monotonic() - began
        except TimeoutError:
            continue
        except OSError:
            return time.monotonic() - began
    raise AssertionError("it stays open")


@pytest.mark.parametrize("begin", [b"", HELD, ASK + HELD])
@pytest.mark.parametrize("drip", [b"", b"x"])
def test_a_header_that_does_not_end_is_not_waited_for(live, monkeypatch, begin, drip):
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.3)
    with live() as address, connected(address) as sock:
        sock.sendall(begin)
        if begin.startswith(ASK):
            assert answer(sock) == 200
        assert until_closed(sock, drip if begin else b"") < 3


def test_a_body_of_a_refused_request_that_does_not_end_is_not_waited_for(live, monkeypatch):
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.3)
    with live(keys=("k" * 16,)) as address, connected(address) as sock:
        sock.sendall(ASK.replace(b"16", b"99999"))
        assert answer(sock) == 401
        assert until_closed(sock, b"x") < 3


def test_an_idle_connection_is_closed(live, monkeypatch):
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.2)
    with live() as address, connected(address) as sock:
        sock.sendall(ASK)
        assert answer(sock) == 200
        assert until_closed(sock) < 3


def test_a_request_under_way_takes_its_time(live, monkeypatch):
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.5)
    model = stub()
    with live(model) as address, connected(address) as sock:
        model.delay = 1.0
        for part in (ASK[:30], ASK[30:]):
            sock.sendall(part)
        assert answer(sock) == 200
        sock.sendall(ASK)
        assert answer(sock) == 200


def test_so_many_connections_and_a_real_request_is_still_answered(live, caplog):
    with ExitStack() as stack:
        address = stack.enter_context(live(limits={"connections": 8}))
        busy = stack.enter_context(connected(address))
        busy.sendall(ASK)
        assert answer(busy) == 200
        silent = [stack.enter_context(connected(address)) for _ in range(30)]
        assert httpx.get(f"{address}/readyz").status_code == 200
        gone = 0
        for sock in silent:
            sock.settimeout(0.05)
            try:
                gone += not sock.recv(1)
            except ConnectionResetError:
                gone += 1
            except TimeoutError:
                pass
        assert gone >= 30 - 8
        assert caplog.text.count("too many connections") == 1


def test_an_answer_that_nobody_reads_is_not_kept(monkeypatch):
    monkeypatch.setattr(server, "STALL_SECONDS", 0.5)
    ended = []

    async def large(scope, receive, send):
        if scope["type"] == "lifespan":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        ended.append(True)

    with listening(large, make_settings()) as address:
        with connected(address) as unread:
            unread.sendall(ASK)
            end = time.monotonic() + 60
            while not ended and time.monotonic() < end:
                time.sleep(0.01)
            assert ended  # the connection is gone, so there is nobody to wait for
        with connected(address) as slow:  # but in time again and again
            slow.sendall(ASK.replace(b"Host", b"Connection: close\r\nHost"))
            read = 0
            while part := slow.recv(1 << 22):
                read += len(part)
                time.sleep(0.01)
            assert read > 64 << 20


class Full(socket.socket):
    """A listener that has no descriptor left for a while."""

    tries = 0

    def accept(self):
        if Full.tries < 50:
            Full.tries += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_no_descriptors_are_one_line(monkeypatch, caplog):
    import tiny_service

    own = tiny_service._listen

    def full(settings):
        found = own(settings)
        return Full(found.family, found.type, found.proto, found.detach())

    monkeypatch.setattr(tiny_service, "_listen", full)
    app, _ = tiny_service.app_of()
    with caplog.at_level(logging.WARNING), listening(app) as address:
        assert httpx.get(f"{address}/healthz", timeout=10).status_code == 200
    assert Full.tries == 50
    lines = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert [one.getMessage() for one in lines] == ["out of descriptors"]
    assert lines[0].exc_info is None


@pytest.mark.parametrize(
    ("soft", "wanted", "found"), [(1024, 1000, 896), (65536, 1000, 1000), (256, 1000, 128), (64, 1000, 32)]
)
def test_connections_leave_descriptors_to_the_rest(monkeypatch, soft, wanted, found):
    resource = SimpleNamespace(RLIMIT_NOFILE=7, RLIM_INFINITY=-1, getrlimit=lambda _: (soft, 99999))
    monkeypatch.setitem(__import__("sys").modules, "resource", resource)
    assert server.allowed(wanted) == found


def test_answers_are_sent_at_once() -> None:
    settings = SimpleNamespace(host="127.0.0.1", port=0)
    with server._listen(settings) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # by which asyncio knows that it may set TCP_NODELAY
