"""The interface of executors, which apply one function to many jobs, and the one in this process."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

Key = TypeVar("Key")
Job = TypeVar("Job")
Result = TypeVar("Result")

Work = Callable[[Any, Job, Callable[[int], None] | None], Result]
"""``work(model, job, progress)``: importable by its name, the same for the same job, without side effects."""


class Executor(Protocol):
    """Applies a function to jobs; only the caller writes files, so a lost worker costs its own jobs alone."""

    def run(
        self,
        model: Any,
        work: Work[Job, Result],
        jobs: Iterable[tuple[Key, Job, int]],
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[Key, Result]]:
        """Apply ``work`` to every job.

        Args:
            model: passed to ``work``.
            work: called once per job; on a cluster, again where a job was lost.
            jobs: key, job, and its number of items; drawn lazily, as workers become free.
            progress: called with the number of items done since its last call.

        Yields:
            Key and result of each job, in any order.

        Raises:
            ErnieSearchError: what ``work`` raises, or the executor failed.
        """

    def close(self) -> None:
        """Release what the executor holds."""


class LocalExecutor:
    """Does the jobs one after the other in this process; ``progress`` is passed on to ``work``."""

    def run(
        self,
        model: Any,
        work: Work[Job, Result],
        jobs: Iterable[tuple[Key, Job, int]],
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[Key, Result]]:
        """Apply ``work`` to every job, in their order; see :class:`Executor`."""
        for key, job, _ in jobs:
            yield key, work(model, job, progress)

    def close(self) -> None:
        """Do nothing: this executor holds nothing."""
