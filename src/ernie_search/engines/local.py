"""One job after the other, in this process."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ernie_search.engines.protocol import Job, Key, Result, Work


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
