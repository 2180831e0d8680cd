"""A service in a process of its own, over a tiny store on disk: what the benchmarks of the service share."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT

START_SECONDS = 300
KEY = "benchmark-key-of-this-run"


@dataclass(frozen=True)
class Server:
    """A running service."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    @property
    def address(self) -> str:
        """Without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    def memory(self) -> int:
        """Bytes of the process that are in memory and nobody else's."""
        import psutil

        return int(psutil.Process(self.process.pid).memory_full_info().uss)

    def reload(self) -> int:
        """Have index and model opened anew; the answer's status."""
        request = urllib.request.Request(
            f"{self.address}/v1/reload", method="POST", headers={"Authorization": f"Bearer {KEY}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


def numbered(number: int, salt: int = 0) -> dict[str, object]:
    """Passage ``number`` as the API takes it; its words tell it apart, another ``salt`` replaces it."""
    words = " ".join(f"{one}{(number * 7 + place + salt) % 97}" for place, one in enumerate(WORDS))
    return {
        "id": f"p{number}",
        "title": f"Number {number}",
        "text": f"{words}, field {number}, harvest {salt}.",
        "fields": {"lang": ("en", "fr", "zh")[number % 3], "year": 1990 + number % 30},
    }


WORDS = ("tea", "rice", "wheat", "water", "rain", "river")


def tiny_store(folder: str, passages: int) -> str:
    """A LanceDB store of so many passages and its model, of a few thousand weights; the store's folder."""
    sys.path.append(str(ROOT / "tests"))
    from ernie_search.cli.output import quiet_libraries
    from ernie_search.index import make_spec, open_index, passage_batch
    from ernie_search.model import ScoreSettings, from_base
    from ernie_search.types import Passage
    from tiny_model import sentence_base

    quiet_libraries()
    base = sentence_base(Path(folder) / "base")
    model = from_base(str(base), settings=ScoreSettings(token_dim=16, passage_length=48, query_length=16))
    model.save(f"{folder}/model")
    spec = make_spec(
        model_name="tiny",
        model_fingerprint=model.fingerprint,
        model_path="../model",
        dim=32,
        token_dim=16,
        tokens="fp16",
        fields={"lang": "str", "year": "int"},
    )
    made = [Passage(**numbered(number)) for number in range(passages)]  # type: ignore[arg-type]
    store = open_index(Path(folder) / "store", spec, "w")
    store.upsert(passage_batch(made, model.encode_joint([one.full_text for one in made], "passage"), model))
    store.commit()
    store.close()
    return f"{folder}/store"


@contextlib.contextmanager
def serving(index: str, *options: str, keys: bool = False, log: Path | None = None) -> Iterator[Server]:
    """``ernie-search serve INDEX`` on a free loopback port, ended with SIGTERM.

    Args:
        index: what to serve.
        options: of the command.
        keys: ask for ``KEY``.
        log: where its log goes; by default nowhere: it is a line a request.
    """
    command = [sys.executable, "-c", "from ernie_search.cli import main; main()", "serve", index]
    environment = {**os.environ, "ERNIE_SEARCH_API_KEYS": KEY if keys else ""}
    with open(log or os.devnull, "w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [*command, "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        )
    try:
        started = time.monotonic()
        line = process.stdout.readline() if process.stdout is not None else ""
        if not line or time.monotonic() - started > START_SECONDS:
            raise SystemExit("the server did not start; try: ernie-search serve")
        yield Server(process, int(line.split()[0].rpartition(":")[2]), log or Path(os.devnull))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise SystemExit("the server did not end within a minute of SIGTERM") from None


class Connection:
    """HTTP/1.1 with keep-alive on a bare socket, as much of it as is needed here: httpx costs more than the
    server's whole HTTP layer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Over an open connection."""
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """To a port of this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, path: str, body: bytes, method: str = "POST", key: str = KEY, part: float = 1.0) -> None:
        """Send a request, or the first ``part`` of its body."""
        self.writer.write(
            b"%b %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer %b\r\nContent-Length: %d\r\n\r\n%b"
            % (method.encode(), path.encode(), key.encode(), len(body), body[: int(part * len(body))])
        )

    async def answer(self) -> tuple[int, bytes]:
        """Status and body of what was sent."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return int(head.split(b" ", 2)[1]), await self.reader.readexactly(length)

    async def ask(self, path: str, body: Any, method: str = "POST") -> tuple[int, Any]:
        """Status and parsed body."""
        self.send(path, json.dumps(body).encode(), method)
        status, found = await self.answer()
        return status, json.loads(found)

    def close(self) -> None:
        """At once, whatever is under way."""
        self.writer.close()
