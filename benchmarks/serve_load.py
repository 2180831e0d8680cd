"""Requests a second over HTTP on loopback: 1, 8 and 64 clients, and what HTTP costs over a call in process.

SQuAD passages in an index, late interaction over the top 100, ten hits an answer. Each client keeps one
connection and asks as soon as it has its answer; questions differ all the time. The server runs in a process
of its own, the clients in this one, on bare sockets (httpx costs more than the server's whole HTTP layer).
Bounded in requests and in seconds. Answers 429 are counted, and are no errors.
"""

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, arguments, emit, median, squad_folder
from benchmarks.isolated import isolated

CLIENTS = (1, 8, 64)
SETTINGS = {"mode": "late", "k": 10, "candidates": 100}
START_SECONDS = 300


@dataclass
class Load:
    """What one number of clients saw."""

    seconds: float = 0.0
    milliseconds: list[float] = field(default_factory=list)
    refused: int = 0
    errors: int = 0

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.milliseconds) / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """Milliseconds."""
        ordered = sorted(self.milliseconds)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def prepare(folder: str, passages: int, questions: int) -> list[str]:
    """Make the index of so many SQuAD passages with the bundled base, untrained; the questions' texts."""
    from benchmarks.small_squad import small_squad
    from ernie_search.data import open_collection
    from ernie_search.encoding import encode_collection
    from ernie_search.model import BUNDLED, from_base

    squad = small_squad(open_collection(str(squad_folder())), passages, questions)
    model = from_base(BUNDLED)
    model.save(f"{folder}/model")
    encode_collection(
        model,
        squad.passages(),
        Path(folder) / "index",
        data_fingerprint="load",
        model_path=f"{folder}/model",
    )
    return [query.text for query in squad.queries("train")]


def in_process(folder: str, texts: list[str], limit: int) -> float:
    """The median milliseconds of a call to search in process."""
    from ernie_search.hardware import keep_freed_memory
    from ernie_search.search import Searcher

    keep_freed_memory()
    searcher = Searcher.open(f"{folder}/index")
    for text in texts[:5]:
        searcher.search(text, SETTINGS["k"], mode="late", candidates=100)
    times = []
    for text in texts[:limit]:
        started = time.perf_counter()
        searcher.search(text, SETTINGS["k"], mode="late", candidates=100)
        times.append((time.perf_counter() - started) * 1000)
    return median(times)


class Connection:
    """HTTP/1.1 with keep-alive, as much of it as is needed here."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Over an open connection."""
        self.reader, self.writer = reader, writer

    async def ask(self, text: str) -> tuple[int, bytes]:
        """Status and body."""
        body = json.dumps({"query": text, **SETTINGS}).encode()
        self.writer.write(
            b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return int(head.split(b" ", 2)[1]), await self.reader.readexactly(length)


async def load(port: int, texts: list[str], clients: int, most: int, seconds: float) -> Load:
    """So many clients until ``most`` requests or ``seconds``, whichever is first."""
    found, left = Load(), iter(range(most))
    begin = time.perf_counter()

    async def client() -> None:
        connection = Connection(*await asyncio.open_connection("127.0.0.1", port))
        try:
            for number in left:
                started = time.perf_counter()
                if started - begin > seconds:
                    break
                try:
                    status, body = await connection.ask(texts[number % len(texts)])
                except (OSError, asyncio.IncompleteReadError):
                    found.errors += 1
                    break
                if status == 200 and json.loads(body)["hits"]:
                    found.milliseconds.append((time.perf_counter() - started) * 1000)
                elif status == 429:
                    found.refused += 1
                    await asyncio.sleep(0.05)
                else:
                    found.errors += 1
        finally:
            connection.writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    found.seconds = time.perf_counter() - begin
    return found


def serve(folder: str) -> tuple[subprocess.Popen[str], int]:
    """The command itself, and the port that its one line names."""
    command = [sys.executable, "-c", "from ernie_search.cli import main; main()", "serve", f"{folder}/index"]
    # Its log is a line a request, which nobody reads here.
    server = subprocess.Popen(
        [*command, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    started = time.monotonic()
    line = server.stdout.readline() if server.stdout is not None else ""
    if not line or time.monotonic() - started > START_SECONDS:
        server.kill()
        raise SystemExit("the server did not start; try: ernie-search serve")
    return server, int(line.split()[0].rpartition(":")[2])


def main() -> None:
    """Prepare, serve, load; then the same searches in process."""
    args = arguments(
        __doc__ or "", passages=20_000, questions=2_000, requests=3_000, seconds=60.0, overhead=300
    )
    passages, most, seconds, calls = args.passages, args.requests, args.seconds, args.overhead
    if args.quick:
        passages, most, seconds, calls = min(passages, 2_000), min(most, 400), min(seconds, 15.0), 100
    folder = tempfile.mkdtemp()
    try:
        texts = isolated(prepare, folder, passages, args.questions)
        server, port = serve(folder)
        try:
            asyncio.run(load(port, texts, 8, min(64, most), seconds))  # warm
            loads = {n: asyncio.run(load(port, texts, n, most, seconds)) for n in CLIENTS}
            lone = asyncio.run(load(port, texts, 1, calls, seconds))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
        own = isolated(in_process, folder, texts, calls)
    finally:
        shutil.rmtree(folder)
    emit(figures(loads, lone, own, {"passages": passages, **SETTINGS}), args.json)


def figures(loads: dict[int, Load], lone: Load, own: float, settings: dict[str, Any]) -> list[Figure]:
    """The four figures, and the table's rows."""
    one, many = loads[1], loads[64]
    scaling = many.rate / one.rate if one.rate else 0.0
    counts = {"requests": len(many.milliseconds), "refused": many.refused, **settings}
    found = [
        Figure("scaling_64", many.rate, "requests/s", "one client", one.rate, scaling, counts),
        Figure("p99_ms_64", many.percentile(0.99), "ms", settings=counts),
        Figure("errors_64", many.errors, "answers", settings=counts),
        Figure(
            "http_overhead_ms",
            lone.percentile(0.5) - own,
            "ms",
            "search in process",
            own,
            settings={"http_p50": round(lone.percentile(0.5), 2), **settings},
        ),
    ]
    for clients, seen in loads.items():
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            found.append(Figure(f"{name}_ms_{clients}_clients", seen.percentile(share), "ms"))
        found.append(Figure(f"rate_{clients}_clients", seen.rate, "requests/s"))
    return found


if __name__ == "__main__":
    main()
