"""The processes of a training, started by ``torchrun`` or ``accelerate launch``, and what they exchange.

Each rank encodes its own texts, scores its own questions against the passages of all ranks, and gathers the
rows of scores of all. Every rank then computes the terms of the loss over the same whole matrix, so that
their means have the right denominators whatever is masked. In the backward each rank takes the gradient of
its own rows; the gradients of other ranks' passages are sent to the ranks that encoded them. The gradients
are those that one process on the joined batch would have.

Without a launcher there is one process, and nothing here does anything. All processes must see the same
training folder.
"""

import atexit
import contextlib
import gc
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from ernie_search.errors import ErnieSearchError, SettingsError, TrainingError
from ernie_search.model import EncoderOutput

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a training, and which of them this one is.

    Attributes:
        rank: of this process; rank 0 is the main one.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, *, on_cpu: bool) -> "World":
        """Join the processes that the launcher started, through gloo on processors and nccl on GPUs.

        Args:
            on_cpu: whether the training runs on processors.
        """
        if cls.launched().size < 2:
            return cls()
        mine = not dist.is_initialized()
        state = PartialState(cpu=on_cpu)
        if mine:
            atexit.register(_leave)
        # Its replacement is not in every version of torch that we support.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return cls(state.process_index, state.num_processes)

    @classmethod
    def launched(cls) -> "World":
        """The processes according to the launcher's variables, without connecting to them."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        return cls(int(os.environ.get("RANK", "0")), size) if size > 1 else cls()

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files and calls the observer."""
        return self.rank == 0

    def counts(self, total: int) -> list[int]:
        """How many of ``total`` items each rank has: equal shares, the first ones larger by one."""
        return [total // self.size + (rank < total % self.size) for rank in range(self.size)]

    def share(self, total: int) -> slice:
        """Which of ``total`` items this rank has."""
        ends = list(accumulate(self.counts(total)))
        return slice(ends[self.rank] - self.counts(total)[self.rank], ends[self.rank])

    def check(self, questions: int) -> None:
        """Refuse a step that is too small to be split.

        Raises:
            SettingsError: fewer questions than ranks.
        """
        if questions < self.size:
            raise SettingsError(
                f"questions_per_batch={questions} is less than the {self.size} processes that share a step; "
                f"set it to {self.size} or more (it counts the questions of all), or start fewer"
            )

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.size > 1:
            self.all_gather(None)  # unlike a barrier, it is bound to no device

    def all_gather(self, value: T) -> list[T]:
        """The value of each rank, in the order of ranks; any object that pickles."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def sum(self, counts: Mapping[str, int]) -> dict[str, int]:
        """The sum over ranks of each count."""
        if self.size == 1:
            return dict(counts)
        gathered = self.all_gather(dict(counts))
        return {name: sum(one[name] for one in gathered) for name in counts}

    def on_main(self, work: Callable[[], T]) -> T:
        """Call ``work`` on rank 0, and return its result, or raise its error, on all ranks.

        Raises:
            ErnieSearchError: whatever ``work`` raises.
        """
        if self.size == 1:
            return work()
        sent: list[Any] = [None, None]
        if self.is_main:
            try:
                sent[0] = work()
            except ErnieSearchError as error:
                sent[1] = error
        dist.broadcast_object_list(sent, src=0)
        if sent[1] is not None:
            raise sent[1]
        result: T = sent[0]
        return result

    def check_equal(self, identity: Mapping[str, Any]) -> None:
        """Refuse, on every rank, to train if one has other data, settings or packages than rank 0.

        Args:
            identity: plain values, by what they describe.

        Raises:
            TrainingError: it names the first rank that differs from rank 0, and in what.
        """
        gathered = self.all_gather(dict(identity))
        for rank, other in enumerate(gathered):
            for name, value in gathered[0].items():
                if other.get(name) != value:
                    raise TrainingError(
                        f"rank {rank} has another {name} than rank 0 ({_difference(other.get(name), value)})"
                        "; give all processes the same packages, data and settings"
                    )


def _difference(found: Any, expected: Any) -> str:
    """Both values, or those of the first entry that differs, of dictionaries."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        for name in expected:
            if found.get(name) != expected[name]:
                return f"{name} {found.get(name)}, rank 0 {expected[name]}"
    return f"{found}, rank 0 {expected}"


def seed_rank(seed: int, step: int, world: World) -> None:
    """Give each rank random numbers of its own, as the same dropout on all ranks would teach less.

    Args:
        seed: of the training.
        step: that the training resumes from, so that other numbers are drawn after a resume.
        world: with one rank, at step 0, nothing is done.
    """
    if world.size > 1 or step:
        torch.manual_seed(hash((seed, step, world.rank, world.size)) % (1 << 63))


def _leave() -> None:
    """Leave the process group, and end the threads behind it.

    They end with the group's last reference. A trainer that ended is a cycle and holds one, and a thread
    that lets go of a tensor while Python goes down ends the whole process with SIGABRT.
    """
    if dist.is_initialized():
        dist.destroy_process_group()
        gc.collect()


LOST = ("connection", "closed by peer", "timed out", "nccl", "gloo")
"""Parts of torch's messages about a broken connection, which is not the fault of this rank."""
PATIENCE = 3.0
"""Seconds to reach the launcher's store, where a rank that fails leaves its reason before it ends."""


class _EndedError(RuntimeError):
    """The launcher ended this process, as it does when another one has ended."""


@contextlib.contextmanager
def share_failures(output: Path, world: World) -> Iterator[None]:
    """Tell the other ranks why this one fails; where another one failed, raise its reason.

    After a failure SIGTERM stays ignored: the launcher sends it at once, and the reason is still to be said.

    Args:
        output: the training folder.
        world: of the training; with one rank nothing is done.

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
        _on_end(signal.SIG_IGN)  # the launcher waits long enough for the message below
        if not isinstance(error, RuntimeError):
            _tell(output, world, error)
            raise
        reason = _reason(output, world)
        if reason is not None:
            raise TrainingError(reason) from error
        if isinstance(error, _EndedError) or any(sign in str(error).lower() for sign in LOST):
            raise TrainingError(
                f"{output}: a process of the training died without a message (killed, or out of memory), "
                "or the launcher was stopped; run the same command again to resume from the last checkpoint"
            ) from error
        _tell(output, world, error)
        raise
    except BaseException:  # Ctrl-C
        _on_end(before)
        raise
    _on_end(before)


def _raise_ended(number: int, frame: object) -> None:
    _on_end(signal.SIG_IGN)
    raise _EndedError("the launcher ended this process")


def _on_end(handler: Any) -> Any:
    """Set the handler of SIGTERM, where this thread may; returns the one before."""
    if threading.current_thread() is not threading.main_thread() or handler is None:
        return None
    return signal.signal(signal.SIGTERM, handler)


def _store() -> Any:
    """A connection of our own to the launcher's store; ``None`` where it is gone."""
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
    """The reason that another rank left before it ended."""
    store = _store()
    if store is None:
        return None
    for rank in range(world.size):
        with contextlib.suppress(RuntimeError):
            if rank != world.rank and store.check([_key(output, rank)]):
                reason = store.get(_key(output, rank)).decode("utf-8", errors="replace")
                return f"{output}: rank {rank} ended the training ({reason}); see its own message"
    return None


class _Rows(torch.autograd.Function):
    """The rows of all ranks from each rank's own.

    Every rank computes the same loss from them, so the gradient of its own rows is complete; the mean that
    the wrapper takes over ranks divides it, hence the factor.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, world: World, total: int) -> Tensor:
        counts = world.counts(total)
        ctx.mine, ctx.size = world.share(total), world.size
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(found, padded)
        return torch.cat([one[:count] for one, count in zip(found, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0][ctx.mine] * ctx.size, None, None


def gather_rows(rows: Tensor, world: World, total: int) -> Tensor:
    """Gather the ``(own, ...)`` rows of each rank into the ``(total, ...)`` rows of all ranks, in order.

    Every rank must compute the same loss from them.

    Args:
        rows: of this rank, as many as :meth:`World.counts` says.
        world: of the training.
        total: rows of all ranks together.
    """
    if world.size == 1:
        return rows
    found: Tensor = _Rows.apply(rows, world, total)  # type: ignore[no-untyped-call]
    return found


@dataclass(frozen=True, slots=True)
class _Shape:
    """Shape of a block of passages: rows, tokens, and whether it has token matrices."""

    rows: int
    length: int
    tokens: bool


class _Shared(torch.autograd.Function):
    """The blocks of all ranks from each rank's own; their gradients are summed over the ranks' questions."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, plan: list[tuple[int, tuple[int, ...]]], *own: Tensor) -> Any:
        ctx.plan = plan
        rank, mine = dist.get_rank(), iter(own)
        found = []
        for owner, shape in plan:
            block = next(mine).contiguous() if owner == rank else anchor.new_empty(shape)
            dist.broadcast(block, src=owner)
            found.append(block.view_as(block))
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        rank, back = dist.get_rank(), []
        for (owner, _), grad in zip(ctx.plan, grads, strict=True):
            summed = grad.clone(memory_format=torch.contiguous_format)
            dist.reduce(summed, dst=owner)
            if owner == rank:
                back.append(summed)
        return None, None, *back


def share_blocks(
    blocks: Sequence[EncoderOutput], order: Tensor, anchor: Tensor, world: World
) -> tuple[list[EncoderOutput], Tensor]:
    """Share each rank's blocks of passages with all ranks.

    Args:
        blocks: of this rank, possibly none; their rows are those of ``order``.
        order: ``(b,)`` place of each row of the blocks among this rank's passages.
        anchor: any one-element tensor of the blocks' type and device, with a gradient where they have one.
        world: of the training.

    Returns:
        All blocks, and ``(B,)``: the row, among all blocks' rows, of each passage of the step.
    """
    if world.size == 1:
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        return list(blocks), place
    shapes = [
        _Shape(len(one.cls), 0 if one.mask is None else one.mask.shape[1], one.tokens is not None)
        for one in blocks
    ]
    widths = [(one.cls.shape[1], 0 if one.tokens is None else one.tokens.shape[2]) for one in blocks]
    gathered = world.all_gather((shapes, order.tolist(), widths[0] if widths else None))
    cls_width, token_width = next(widths for _, _, widths in gathered if widths is not None)
    plan: list[tuple[int, tuple[int, ...]]] = []
    for owner, (theirs, _, _) in enumerate(gathered):
        for shape in theirs:
            plan.append((owner, (shape.rows, cls_width)))
            if shape.tokens:
                plan.append((owner, (shape.rows, shape.length, token_width)))
    own = [tensor for one in blocks for tensor in (one.cls, one.tokens) if tensor is not None]
    tensors = iter(_Shared.apply(anchor, plan, *own))  # type: ignore[no-untyped-call]
    own_masks = iter(one.mask for one in blocks if one.mask is not None)
    found, rows, start = [], [], 0
    for owner, (theirs, their_order, _) in enumerate(gathered):
        for shape in theirs:
            single = next(tensors)
            if not shape.tokens:
                found.append(EncoderOutput(single))
                continue
            mine = next(own_masks) if owner == world.rank else None
            found.append(EncoderOutput(single, next(tensors), _mask(mine, shape, owner, order)))
        inverse = torch.empty(len(their_order), dtype=torch.long)
        inverse[torch.tensor(their_order, dtype=torch.long)] = torch.arange(len(their_order))
        rows.append(inverse + start)
        start += len(their_order)
    return found, torch.cat(rows).to(order.device)


def _mask(mine: Tensor | None, shape: _Shape, owner: int, like: Tensor) -> Tensor:
    """The mask of a block, from the rank that has it; sent as bytes, which every backend supports."""
    size = (shape.rows, shape.length)
    mask = torch.empty(size, dtype=torch.uint8, device=like.device) if mine is None else mine.to(torch.uint8)
    dist.broadcast(mask, src=owner)
    return mask.bool()
