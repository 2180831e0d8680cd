"""An endpoint on this machine that answers as it is told."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]


def completion(text: Any, usage: Any = None) -> Answer:
    return 200, {"choices": [{"message": {"content": text}}], "usage": usage}


def good(number: int, body: dict[str, Any]) -> Answer:
    """Two questions that name the passage's own number."""
    words = body["messages"][0]["content"].rsplit("Passage:\n", 1)[-1].split()
    text = f"1. where was harvest {words[-20:]}?\n2. who grew it near {' '.join(words[:6])}\n"
    return completion(text, {"prompt_tokens": 100, "completion_tokens": 20})


class FakeEndpoint:
    """Answers request number n with ``answer(n, body)``."""

    def __init__(self) -> None:
        self.answer: Callable[[int, dict[str, Any]], Answer] = good
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.headers: dict[str, str] = {}
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    number = len(outer.bodies)
                    outer.bodies.append(body)
                    outer.keys.append(self.headers["Authorization"])
                status, value = outer.answer(number, body)
                sent = value if isinstance(value, bytes) else json.dumps(value).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(sent)))
                    for name, text in outer.headers.items():
                        self.send_header(name, text)
                    self.end_headers()
                    self.wfile.write(sent)
                except OSError:  # the client has gone
                    pass

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
