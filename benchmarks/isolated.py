"""One side of a comparison in a process of its own: neither inherits the other's memory or settings."""

import multiprocessing
from collections.abc import Callable
from queue import Empty
from typing import Any


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], queue: Any) -> None:
    queue.put(function(*arguments))


def isolated(function: Callable[..., Any], *arguments: Any, timeout: float = 3600) -> Any:
    """``function(*arguments)`` in a fresh process; what it returns must pickle."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_call, args=(function, arguments, queue))
    process.start()
    waited = 0
    while True:
        try:
            result = queue.get(timeout=1)
            break
        except Empty:
            waited += 1
            if waited > timeout or (not process.is_alive() and queue.empty()):
                process.terminate()
                raise SystemExit(f"{function.__name__}: ended without a result") from None
    process.join()
    return result
