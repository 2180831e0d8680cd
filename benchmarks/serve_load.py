"""Requests a second over HTTP on loopback: 1, 8 and 64 clients, and what HTTP costs over a call in process.

SQuAD passages in an index by the bundled model, questions through ONNX Runtime, late interaction over the top
100, ten hits an answer. Each client keeps one
connection and asks as soon as it has its answer; questions differ all the time. The server runs in a process
of its own, the clients in this one, on bare sockets (httpx costs more than the server's whole HTTP layer).
Bounded in requests and in seconds. Answers 429 are counted, and are no errors.
"""

import asyncio
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.encoded import BASE
from benchmarks.figures import Figure, arguments, emit, median, squad_folder
from benchmarks.isolated import isolated
from benchmarks.serving import Connection, serving
from benchmarks.small_squad import small_squad

CLIENTS = (1, 8, 64)
QUICK = (1_500, 60)
"""Passages and questions of the quick run, as in ``search_end_to_end``."""
TURNS = 4
"""Of a lone client over HTTP, and of a process of its own that searches the same questions."""
SETTINGS = {"mode": "late", "k": 10, "candidates": 100}


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


def prepare(folder: str, quick: bool, index: str, questions: int) -> tuple[str, list[str]]:
    """An index of SQuAD's passages by the bundled model, untrained, and texts of SQuAD's questions.

    Args:
        folder: where the index is made.
        quick: of few passages.
        index: one that is there, which is taken as it is; "" makes one.
        questions: how many.
    """
    import ernie_search
    from ernie_search.data import open_collection, write_beir

    squad: Any = open_collection(str(squad_folder()))
    if not index:
        source = squad_folder()
        if quick:
            source = Path(folder) / "squad"
            write_beir(small_squad(squad, *QUICK), source)
        index = f"{folder}/index"
        ernie_search.build_index(source, BASE, index).close()
    asked = squad.queries("train")
    return index, [query.text for query in asked[:: max(1, len(asked) // questions)]]


def in_process(index: str, texts: list[str], limit: int) -> list[float]:
    """The milliseconds of calls to search in process."""
    from ernie_search.search import Searcher

    searcher = Searcher.open(index)
    for text in texts[:5]:
        searcher.search(text, SETTINGS["k"], mode="late", candidates=100)
    times = []
    for text in texts[:limit]:
        started = time.perf_counter()
        searcher.search(text, SETTINGS["k"], mode="late", candidates=100)
        times.append((time.perf_counter() - started) * 1000)
    return times


async def load(port: int, texts: list[str], clients: int, most: int, seconds: float) -> Load:
    """So many clients until ``most`` requests or ``seconds``, whichever is first."""
    found, left = Load(), iter(range(most))
    begin = time.perf_counter()

    async def client() -> None:
        connection = await Connection.open(port)
        try:
            for number in left:
                started = time.perf_counter()
                if started - begin > seconds:
                    break
                try:
                    question = {"query": texts[number % len(texts)], **SETTINGS}
                    status, body = await connection.ask("/v1/search", question)
                except (OSError, asyncio.IncompleteReadError):
                    found.errors += 1
                    break
                if status == 200 and body["hits"]:
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


def main() -> None:
    """Prepare, serve, load; then the same searches in process."""
    args = arguments(__doc__ or "", questions=2_000, requests=3_000, seconds=60.0, overhead=300, index="")
    most, seconds, calls = (400, 15.0, 100) if args.quick else (args.requests, args.seconds, args.overhead)
    folder = tempfile.mkdtemp()
    try:
        index, texts = isolated(prepare, folder, args.quick, args.index, args.questions)
        with serving(index) as server:
            asyncio.run(load(server.port, texts, 8, min(64, most), seconds))  # warm
            loads = {n: asyncio.run(load(server.port, texts, n, most, seconds)) for n in CLIENTS}
            lone, own = Load(), []
            for _ in range(TURNS):  # in turn, as a shared machine is now faster, now slower
                asked = asyncio.run(load(server.port, texts, 1, calls // TURNS, seconds))
                lone.milliseconds += asked.milliseconds
                own += isolated(in_process, index, texts, calls // TURNS)
    finally:
        shutil.rmtree(folder)
    emit(figures(loads, lone, median(own), {"index": Path(index).name, **SETTINGS}), args.json)


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
