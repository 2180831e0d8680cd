"""What encoding and scoring ask of an engine: the same function over many jobs, results as they come."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

Key = TypeVar("Key")
Job = TypeVar("Job")
Result = TypeVar("Result")

Work = Callable[[Any, Job, Callable[[int], None] | None], Result]
"""``work(model, job, progress)``: importable by its name, the same for the same job, without side effects."""


class Engine(Protocol):
    """Does jobs; the caller alone reads and writes files, so a lost worker costs only its unfinished jobs."""

    def run(
        self,
        model: Any,
        work: Work[Job, Result],
        jobs: Iterable[tuple[Key, Job, int]],
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[Key, Result]]:
        """Do all jobs.

        Args:
            model: handed to ``work``.
            work: done once a job; on a cluster, again where it was lost.
            jobs: key, job, and how many items it has; drawn as there is room for them, never all at once.
            progress: called with the number of items done since its last call.

        Yields:
            Key and result of each job, in any order.

        Raises:
            ErnieSearchError: what ``work`` raises, or the engine failed.
        """

    def close(self) -> None:
        """Let go of what the engine holds."""


class LocalEngine:
    """Does each job when its turn comes; ``progress`` is called from inside the work."""

    def run(
        self,
        model: Any,
        work: Work[Job, Result],
        jobs: Iterable[tuple[Key, Job, int]],
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[Key, Result]]:
        """See ``Engine``; results come in the order of the jobs."""
        for key, job, _ in jobs:
            yield key, work(model, job, progress)

    def close(self) -> None:
        """Nothing is held."""
