"""The processes that train together, and what they must agree on before and while they do.

``torchrun`` and ``accelerate launch`` start them; accelerate brings them together. Without either there is
one process, and nothing here does anything. The folder of the run must be the same one for all.
"""

import atexit
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState

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
