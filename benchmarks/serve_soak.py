"""Many mixed requests to one writable service: answers 5xx, growth of its memory, and lost upserts.

The service is the command itself over a LanceDB store, with a tiny model. Searches in all modes, with and
without filters and explanations, embeddings, re-ranking; some requests are broken (and must be refused),
some clients leave before the answer or in the middle of their request; all the while passages are written,
replaced and deleted, and the service is reloaded.

``lost_upserts``: every writer asks for what it wrote as soon as that is acknowledged, and in the end the
store is opened and compared with all that was acknowledged, passage by passage. ``memory_growth``: of the
memory that is the process's own, from a tenth of the requests (and the first reload) to the end; the number
of passages stays.
"""

import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, arguments, emit
from benchmarks.isolated import isolated
from benchmarks.serving import WORDS, Connection, Server, numbered, serving, tiny_store

CLIENTS, WRITERS = 14, 2
OWN = 40
"""Passages that each writer writes again and again."""
RELOADS = 5
SHARES = {"search": 58, "embeddings": 14, "rerank": 9, "broken": 9, "leaving": 6, "info": 4}


@dataclass
class Seen:
    """What happened."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: int = 0
    written: dict[str, str | None] = field(default_factory=dict)
    memory: list[tuple[int, int]] = field(default_factory=list)


def text_of(rng: random.Random) -> str:
    """A question or passage of a few words, of which no two are the same."""
    return " ".join(f"{rng.choice(WORDS)}{rng.randrange(97)}" for _ in range(rng.randint(1, 12)))


def good(rng: random.Random, kind: str) -> tuple[str, dict[str, Any]]:
    """A request that must be answered."""
    if kind == "search":
        body: dict[str, Any] = {"query": text_of(rng), "k": rng.choice((1, 10, 40))}
        body["mode"] = rng.choice(("dense", "late", "hybrid"))
        if rng.random() < 0.25:
            body["filter"] = rng.choice(
                ('lang = "en" and year >= 2000', {"lang": ["fr", "zh"]}, "year < 1995")
            )
        body["explain"] = rng.random() < 0.2
        return "/v1/search", body
    if kind == "embeddings":
        texts = [text_of(rng) for _ in range(rng.randint(1, 4))]
        form = rng.choice(("float", "base64"))
        return "/v1/embeddings", {
            "input": texts,
            "encoding_format": form,
            "input_type": rng.choice(("query", "passage")),
        }
    documents = [text_of(rng) for _ in range(rng.randint(1, 6))]
    return "/v1/rerank", {"query": text_of(rng), "documents": documents, "top_n": 3}


def broken(rng: random.Random) -> tuple[str, bytes, dict[str, Any]]:
    """A request that must be refused."""
    wrong: list[tuple[str, Any, dict[str, Any]]] = [
        ("/v1/search", b'{"query": ', {}),
        ("/v1/search", b"\xff\xfe\x00", {}),
        ("/v1/search", b"[" * 5_000, {}),
        ("/v1/search", {"query": " "}, {}),
        ("/v1/search", {"query": text_of(rng), "k": 10**6}, {}),
        ("/v1/search", {"query": text_of(rng), "mode": "psychic"}, {}),
        ("/v1/search", {"query": text_of(rng), "filter": "colour = 'red'"}, {}),
        ("/v1/search", {"query": text_of(rng), "filter": "lang = ((("}, {}),
        ("/v1/search", {"query": "x" * 5_000}, {}),
        ("/v1/search", {"vector": [0.1] * 7}, {}),
        ("/v1/search", {"query": text_of(rng)}, {"key": "no-such-key-at-all"}),
        ("/v1/embeddings", {"input": [[1, 2, 3]]}, {}),
        ("/v1/embeddings", {"input": [text_of(rng)] * 300}, {}),
        ("/v1/rerank", {"query": text_of(rng), "documents": []}, {}),
        ("/v1/passages", {"passages": [{"id": "", "text": "x"}]}, {}),
        ("/v1/passages", {"passages": [{"id": "x", "text": "x", "fields": {"year": "never"}}]}, {}),
        ("/v1/nowhere", {}, {}),
        ("/v1/search", {}, {"method": "GET"}),
    ]
    path, body, options = rng.choice(wrong)
    return path, body if isinstance(body, bytes) else json.dumps(body).encode(), options


async def client(server: Server, number: int, left: Any, seen: Seen) -> None:
    """Ask until no request is left."""
    rng = random.Random(number)
    kinds = list(SHARES)
    connection = await Connection.open(server.port)
    for _ in left:
        kind = rng.choices(kinds, list(SHARES.values()))[0]
        seen.requests, seen.kinds[kind] = seen.requests + 1, seen.kinds[kind] + 1
        expected = range(200, 201)
        if kind == "leaving":
            path, body = good(rng, rng.choice(("search", "embeddings", "rerank")))
            connection.send(path, json.dumps(body).encode(), part=rng.choice((0.5, 1.0, 1.0)))
            await asyncio.sleep(rng.random() * 0.01)
            connection.close()
            connection = await Connection.open(server.port)
            continue
        if kind == "broken":
            path, raw, options = broken(rng)
            connection.send(path, raw, **options)
            expected = range(400, 500)
        elif kind == "info":
            path = rng.choice(("/v1/info", "/metrics", "/readyz", "/openapi.json", "/"))
            connection.send(path, b"", method="GET")
        else:
            path, body = good(rng, kind)
            connection.send(path, json.dumps(body).encode())
        try:
            status, answer = await connection.answer()
        except (OSError, asyncio.IncompleteReadError):
            seen.wrong.append(f"{kind} {path}: no answer")
            connection = await Connection.open(server.port)
            continue
        seen.statuses[status] += 1
        if status not in expected and status != 429:
            seen.wrong.append(f"{kind} {path}: {status} {answer[:200]!r}")
        if status == 413:
            connection.close()
            connection = await Connection.open(server.port)
    connection.close()


async def writer(server: Server, number: int, left: Any, seen: Seen, writes: int) -> None:
    """Write, replace and delete passages of its own, and look for each at once."""
    rng = random.Random(1000 + number)
    connection = await Connection.open(server.port)
    for turn in range(writes):
        if next(left, None) is None:
            break
        place = 10_000 * (number + 1) + rng.randrange(OWN)
        passage = numbered(place, salt=turn)
        key, gone = str(passage["id"]), rng.random() < 0.2
        if gone:
            status, _ = await connection.ask("/v1/passages", {"ids": [key]}, "DELETE")
        else:
            status, _ = await connection.ask("/v1/passages", {"passages": [passage]})
        seen.requests, seen.kinds["write"] = seen.requests + 1, seen.kinds["write"] + 1
        seen.statuses[status] += 1
        if status != 200:
            seen.wrong += [f"write: {status}"] if status != 429 else []
            continue
        seen.written[key] = None if gone else str(passage["text"])
        body = {"query": passage["text"], "mode": "dense", "k": 1, "filter": f'id = "{key}"'}
        status, answer = await connection.ask("/v1/search", body)
        seen.requests, seen.kinds["read back"] = seen.requests + 1, seen.kinds["read back"] + 1
        seen.statuses[status] += 1
        if status == 200:
            found = [hit["text"] for hit in answer["hits"]]
            seen.lost += found != ([] if gone else [passage["text"]])
        await asyncio.sleep(0.02)
    connection.close()


async def soak(server: Server, most: int, seconds: float, writes: int, seen: Seen) -> None:
    """All clients until ``most`` requests or ``seconds``; reloads and looks at the memory in between."""
    begin = time.perf_counter()

    def counted() -> Any:
        for number in range(most):
            if time.perf_counter() - begin > seconds:
                return
            yield number

    left = counted()
    clients = [asyncio.create_task(client(server, number, left, seen)) for number in range(CLIENTS)]
    writers = [
        asyncio.create_task(writer(server, number, left, seen, writes // WRITERS))
        for number in range(WRITERS)
    ]
    step, next_look, next_reload = max(most // 50, 1), most // 10, most // 20
    while not all(one.done() for one in clients):
        await asyncio.sleep(0.2)
        if seen.requests >= next_look:
            seen.memory.append((seen.requests, await asyncio.to_thread(server.memory)))
            next_look += step
        if seen.requests >= next_reload:
            seen.statuses[await asyncio.to_thread(server.reload)] += 1
            seen.kinds["reload"] += 1
            next_reload += most // RELOADS
    await asyncio.gather(*clients, *writers)


def still_there(index: str, written: dict[str, str | None], first: int) -> int:
    """How many acknowledged writes the store does not hold as they were, and passages too many or too few."""
    from ernie_search.index import open_index

    store = open_index(index)
    kept = {key: text for key, text in written.items() if text is not None}
    expected = kept | {str(numbered(one)["id"]): str(numbered(one)["text"]) for one in range(first)}
    held = {row["id"]: row["text"] for part in store.scan(["id", "text"]) for row in part.to_pylist()}
    store.close()
    return sum(held.get(key) != text for key, text in expected.items()) + len(set(held) - set(expected))


def main() -> None:
    """Make a store, soak the service, compare."""
    args = arguments(__doc__ or "", requests=50_000, seconds=1500.0, passages=500, writes=1_000)
    most, writes = (3_000, 60) if args.quick else (args.requests, args.writes)
    seen = Seen()
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "log"
        index = isolated(tiny_store, name, args.passages)
        with serving(index, "--writable", keys=True, log=log) as server:
            started = time.perf_counter()
            asyncio.run(soak(server, most, args.seconds, writes, seen))
            spent = time.perf_counter() - started
            code = server.process.poll()
        lost = seen.lost + isolated(still_there, index, seen.written, args.passages)
        traces = log.read_text(encoding="utf-8").count('"trace"')
    if not seen.memory:
        raise SystemExit(f"ended after {seen.requests} requests, too few for a figure: {seen.wrong[:3]}")
    first, last = seen.memory[0][1], max(bytes_ for _, bytes_ in seen.memory[-3:])
    errors = sum(count for status, count in seen.statuses.items() if status >= 500) + traces
    settings = {
        **{"requests": seen.requests, "seconds": round(spent)},
        **seen.kinds,
        "statuses": {str(status): count for status, count in sorted(seen.statuses.items())},
    }
    unexpected = seen.wrong + ([f"the server ended with {code}"] if code is not None else [])
    figures = [
        Figure("errors_5xx", errors, "answers", settings=settings),
        Figure("unexpected", len(unexpected), "answers", settings={"first": unexpected[:3]}),
        Figure(
            "memory_growth",
            last / first - 1,
            "share",
            "after a tenth",
            first / 2**20,
            last / first,
            {"mb_by_requests": [(asked, round(held / 2**20)) for asked, held in seen.memory]},
        ),
        Figure("lost_upserts", lost, "passages", settings={"ids": len(seen.written)}),
        Figure("rate", seen.requests / spent, "requests/s"),
    ]
    emit(figures, args.json)


if __name__ == "__main__":
    main()
