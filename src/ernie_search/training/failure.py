"""A rank that fails ends the run on every rank, and says why on every rank.

The others find out by themselves, as their next exchange with it breaks; what they can't know is the reason.
It is left in the launcher's own store, which outlives any rank (``torchrun`` and ``accelerate launch`` keep
it in the process that started them).
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from ernie_search.errors import TrainingError
from ernie_search.training.world import World

LOST = ("connection", "closed by peer", "timed out", "nccl", "gloo")
"""Signs, in a message of torch, that an exchange broke, and not what this rank itself did."""
PATIENCE = 3.0
"""Seconds to reach the launcher's store. The reason is there already: who fails says it before it leaves."""


class _EndedError(RuntimeError):
    """The launcher, which ends all processes when one has ended, was quicker than the broken exchange."""


@contextlib.contextmanager
def one_for_all(output: Path, world: World) -> Iterator[None]:
    """Tell the other ranks why this one fails; or, where another did, raise its reason.

    Args:
        output: folder of the run.
        world: of the run; with one rank nothing is done.

    Raises:
        TrainingError: another rank failed; with its reason, where it left one.
    """
    if world.size == 1:
        yield
        return
    before = _on_end(_raise_ended)
    try:
        yield
    except Exception as error:
        _on_end(signal.SIG_IGN)  # the message below takes no longer than the launcher's patience
        if not isinstance(error, RuntimeError):
            _tell(output, world, error)
            raise
        told = _reason(output, world)
        if told is not None:
            raise TrainingError(told) from error
        if isinstance(error, _EndedError) or any(sign in str(error).lower() for sign in LOST):
            raise TrainingError(
                f"{output}: a process of the run died without a word (killed, or out of memory), or the "
                "launcher was stopped; run the same command again to go on from the last checkpoint"
            ) from error
        _tell(output, world, error)
        raise
    finally:
        _on_end(before)


def _raise_ended(number: int, frame: object) -> None:
    _on_end(signal.SIG_IGN)
    raise _EndedError("the launcher ended this process")


def _on_end(handler: Any) -> Any:
    """Set what SIGTERM does, where a thread may; what it did before."""
    if threading.current_thread() is not threading.main_thread() or handler is None:
        return None
    return signal.signal(signal.SIGTERM, handler)


def _store() -> Any:
    """A line of our own to the launcher's store; none where it is gone."""
    try:
        return TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            wait_for_workers=False,
            timeout=timedelta(seconds=PATIENCE),
        )
    except (KeyError, ValueError, RuntimeError):
        return None


def _key(output: Path, rank: int) -> str:
    return f"ernie-search/failed/{output}/{rank}"


def _tell(output: Path, world: World, error: Exception) -> None:
    store = _store()
    if store is not None:
        text = (str(error).strip().splitlines() or [""])[0]
        reason = text if isinstance(error, TrainingError) else f"{type(error).__name__}: {text}"
        with contextlib.suppress(RuntimeError):
            store.set(_key(output, world.rank), reason)


def _reason(output: Path, world: World) -> str | None:
    """What another rank left before it ended."""
    store = _store()
    if store is None:
        return None
    for rank in range(world.size):
        with contextlib.suppress(RuntimeError):
            if rank != world.rank and store.check([_key(output, rank)]):
                reason = store.get(_key(output, rank)).decode("utf-8", errors="replace")
                return f"{output}: rank {rank} ended the run ({reason}); see its own message"
    return None
