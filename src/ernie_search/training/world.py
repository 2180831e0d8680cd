"""The processes that train together, and what they must agree on before and while they do.

``torchrun`` and ``accelerate launch`` start them; accelerate brings them together. Without either there is
one process, and nothing here does anything. The folder of the run must be the same one for all.
"""

import atexit
import contextlib
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from ernie_search.errors import ErnieSearchError, SettingsError, TrainingError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class World:
    """This process among all.

    Attributes:
        rank: which one it is; rank 0 writes the files and speaks.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, *, on_cpu: bool) -> "World":
        """The world that the launcher says; gloo on processors, nccl on GPUs.

        Args:
            on_cpu: whether the training runs on processors.
        """
        if cls.launched().size < 2:
            return cls()
        mine = not dist.is_initialized()
        state = PartialState(cpu=on_cpu)
        if mine:
            atexit.register(_leave)
        # What replaces it is not in every torch that we run on.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return cls(state.process_index, state.num_processes)

    @classmethod
    def launched(cls) -> "World":
        """The world that the launcher says, before its processes know of each other."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        return cls(int(os.environ.get("RANK", "0")), size) if size > 1 else cls()

    @property
    def speaks(self) -> bool:
        """Whether this is the process that writes files and tells the observer."""
        return self.rank == 0

    def counts(self, total: int) -> list[int]:
        """How many of ``total`` things each rank has: equal shares, the first ones larger by one."""
        return [total // self.size + (rank < total % self.size) for rank in range(self.size)]

    def share(self, total: int) -> slice:
        """Which of ``total`` things this rank has."""
        ends = list(accumulate(self.counts(total)))
        return slice(ends[self.rank] - self.counts(total)[self.rank], ends[self.rank])

    def check(self, questions: int) -> None:
        """Refuse a step that is too small to be shared out.

        Raises:
            SettingsError: fewer questions than ranks.
        """
        if questions < self.size:
            raise SettingsError(
                f"questions_per_batch={questions} is less than the {self.size} processes that share a step; "
                f"set it to {self.size} or more (it counts the questions of all), or start fewer"
            )

    def barrier(self) -> None:
        """Wait for all."""
        if self.size > 1:
            self.everybody(None)  # carries no device, as barriers do

    def everybody(self, value: T) -> list[T]:
        """What each rank brings, by rank; it must pickle."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def total(self, counts: Mapping[str, int]) -> dict[str, int]:
        """The sum over ranks of each count."""
        if self.size == 1:
            return dict(counts)
        brought = self.everybody(dict(counts))
        return {name: sum(one[name] for one in brought) for name in counts}

    def first(self, work: Callable[[], T]) -> T:
        """What ``work`` gives on rank 0, for all; what it raises on purpose, all raise.

        Raises:
            ErnieSearchError: whatever ``work`` raises.
        """
        if self.size == 1:
            return work()
        told: list[Any] = [None, None]
        if self.speaks:
            try:
                told[0] = work()
            except ErnieSearchError as error:
                told[1] = error
        dist.broadcast_object_list(told, src=0)
        if told[1] is not None:
            raise told[1]
        result: T = told[0]
        return result

    def agree(self, identity: Mapping[str, Any]) -> None:
        """Refuse, on every rank, to train together with one that has other data, settings or packages.

        Args:
            identity: plain values by what they are of.

        Raises:
            TrainingError: it names the first rank that differs from rank 0, and in what.
        """
        brought = self.everybody(dict(identity))
        for rank, other in enumerate(brought):
            for name, value in brought[0].items():
                if other.get(name) != value:
                    raise TrainingError(
                        f"rank {rank} has another {name} than rank 0 ({_difference(other.get(name), value)})"
                        "; give all processes the same packages, data and settings"
                    )


def _difference(found: Any, expected: Any) -> str:
    """The first entry that differs, of dictionaries; else both values."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        for name in expected:
            if found.get(name) != expected[name]:
                return f"{name} {found.get(name)}, rank 0 {expected[name]}"
    return f"{found}, rank 0 {expected}"


def seed_rank(seed: int, step: int, world: World) -> None:
    """Random numbers of this rank's own: two ranks that drop the same units would learn less.

    Args:
        seed: of the run.
        step: that the run goes on from; resumed by another number of ranks, nothing is drawn twice.
        world: nothing is done where it has one rank and the run starts at its beginning.
    """
    if world.size > 1 or step:
        torch.manual_seed(hash((seed, step, world.rank, world.size)) % (1 << 63))


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


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
