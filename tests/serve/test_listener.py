"""The socket that the service listens on."""

import socket
from types import SimpleNamespace
from typing import Any

from ernie_search.serve.server import _listen


def test_answers_are_sent_at_once() -> None:
    settings: Any = SimpleNamespace(host="127.0.0.1", port=0)
    with _listen(settings) as listener:
        assert listener.proto == socket.IPPROTO_TCP  # by which asyncio knows that it may set TCP_NODELAY
