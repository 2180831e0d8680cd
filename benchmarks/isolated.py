"""One side of a comparison in a process of its own: neither inherits the other's memory or settings."""

import multiprocessing
from collections.abc import Callable
from typing import Any


def _call(function: Callable[..., Any], arguments: tuple[Any, ...], queue: Any) -> None:
    queue.put(function(*arguments))


def isolated(function: Callable[..., Any], *arguments: Any, timeout: float = 3600) -> Any:
    """``function(*arguments)`` in a fresh process; what it returns must pickle."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_call, args=(function, arguments, queue))
    process.start()
    result = queue.get(timeout=timeout)
    process.join()
    return result
