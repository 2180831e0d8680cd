"""Jobs as tasks of a Ray cluster: bounded in number, repeated where a worker or a node was lost.

Plain tasks, not Ray Data: a shard must hold exactly the passages that it holds on one machine, encoded in
one call of the model, under its number. Ray Data cuts blocks by bytes, names its files, and cannot skip the
shards that an earlier call finished. With tasks the caller decides all three, and Ray repeats lost ones.
"""

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from ernie_search.encoding.executors.executor import Job, Key, Result, Work
from ernie_search.errors import ErnieSearchError, ExecutorError, SettingsError

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ModuleNotFoundError as error:
    raise SettingsError(
        "executor 'ray' needs Ray; install it, here and on every node: pip install 'ernie-search[ray]'"
    ) from error

RETRIES = 5
"""How often a job is repeated after its worker or node was lost."""
AHEAD = 2
"""Jobs submitted beyond what the cluster does at once, so that no worker waits for the next."""
CONNECT_SECONDS = 10
"""Time allowed for connecting to the address of a cluster."""
PACKAGES = ("ernie-search", "torch", "transformers", "sentence-transformers")
"""Packages on which results depend: a worker with other versions is refused."""

_held: dict[str, Any] = {}
"""In a worker: the last model, by the id of its Ray object; a process keeps one at a time."""


class RayExecutor:
    """Does jobs on a Ray cluster, or on a local one that it starts itself."""

    def __init__(self, address: str | None = None, *, cpus: int | None = None, gpus: float = 0) -> None:
        """Connect to a cluster, or start a local one.

        Args:
            address: ``host:6379``, ``ray://host:10001``, ``auto``; None starts a local one, which ``close``
                ends. Where this process is connected already, that connection is used and kept.
            cpus: cores of a worker, which are its threads; by default those that torch uses in this process
                (so that results are those of this process bit by bit), or the largest node's if it has fewer.
            gpus: of a worker, which holds the model then; a fraction (0.5) lets workers share a GPU.

        Raises:
            ExecutorError: no cluster answers, or no node has that many cores or GPUs.
            SettingsError: fewer than one core, or a number of GPUs that Ray cannot assign.
        """
        if cpus is not None and cpus < 1:
            raise SettingsError(f"cores of a worker: {cpus}; at least 1 is needed")
        if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
            raise SettingsError(f"GPUs of a worker: {gpus:g}; give 1 or more whole ones, or a part of one")
        self._own = not ray.is_initialized()
        if self._own:
            _connect(address)
        self._models: dict[int, tuple[Any, Any]] = {}
        try:
            self.gpus = gpus
            largest = max((int(one) for one, _ in _nodes()), default=0)
            self.cpus = cpus if cpus is not None else max(1, min(_threads(), largest))
            if largest < self.cpus:
                raise ExecutorError(
                    f"Ray: the largest node has {largest} cores, a worker was to have {self.cpus}; lower that"
                )
            most = max((one for _, one in _nodes()), default=0)
            if most < gpus:
                raise ExecutorError(
                    f"Ray: no node has more than {most:g} GPUs, a worker was to have {gpus:g}; lower that"
                )
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> int:
        """Number of jobs that the cluster, at its present size, can do at once."""
        return sum(
            min(int(cpus) // self.cpus, int(gpus / self.gpus) if self.gpus else sys.maxsize)
            for cpus, gpus in _nodes()
        )

    def run(
        self,
        model: Any,
        work: Work[Job, Result],
        jobs: Iterable[tuple[Key, Job, int]],
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[tuple[Key, Result]]:
        """Apply ``work`` to every job; see :class:`Executor`. ``progress`` is called as jobs end.

        At most ``workers + 2`` jobs are submitted at a time, which bounds memory everywhere. Closing the
        iterator cancels the jobs under way.

        Raises:
            ExecutorError: a job was lost more than five times, or the cluster is gone.
            ErnieSearchError: what ``work`` raised.
        """
        held = self._put(model)
        task: Any = ray.remote(_do).options(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=RETRIES)
        versions = {name: version(name) for name in PACKAGES}
        waiting: dict[Any, tuple[Key, int]] = {}
        source = iter(jobs)
        drained = False
        try:
            while True:
                while not drained and len(waiting) < max(1, self.workers) + AHEAD:
                    following = next(source, None)
                    if following is None:
                        drained = True
                        break
                    key, job, size = following
                    # Inside a list, Ray does not deserialise the model for every job.
                    ref = task.remote([held], work, job, self.cpus, self.gpus, versions)
                    waiting[ref] = (key, size)
                if not waiting:
                    return
                done, _ = ray.wait(list(waiting), num_returns=1)
                for ref in done:
                    key, size = waiting.pop(ref)
                    yield key, _result(ref, key)
                    if progress is not None:
                        progress(size)
        finally:
            for ref in waiting:
                ray.cancel(ref, force=True)

    def close(self) -> None:
        """Stop the local cluster, or disconnect; a connection that was there before stays."""
        self._models.clear()
        if self._own and ray.is_initialized():
            ray.shutdown()

    def _put(self, model: Any) -> Any:
        """Put the model into Ray's object store, once: workers keep it from one call to the next."""
        known = self._models.get(id(model))
        if known is None:
            known = self._models[id(model)] = (model, ray.put(model))
        return known[1]


def _connect(address: str | None, **options: Any) -> None:
    own = address is None
    # Ray reads these when it is started: no usage reports, no warning about GPUs that tasks lack.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    if own:
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        if address is not None:
            _check_listening(address)
        ray.init(
            address="local" if own else address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **options,
        )
    except (ConnectionError, RuntimeError, ValueError, OSError, RayError) as error:
        where = "a local Ray did not start" if own else f"{address}: no Ray cluster answers there"
        reason = " ".join(str(error).split())[:300]
        raise ExecutorError(f"{where} ({reason})") from error


def _check_listening(address: str) -> None:
    """Raise OSError at once where nothing listens: Ray itself retries for minutes."""
    client = "://" in address
    url = urlsplit(address if client else f"//{address}")
    if not url.hostname or not url.port:  # "auto" and the like are Ray's to find
        return
    here = not client and url.hostname in {"localhost", "127.0.0.1", "::1"}
    # A local name as Ray reads it: heads listen at this machine's address, not always on the loopback.
    host = _here() if here else url.hostname
    socket.create_connection((host, url.port), timeout=CONNECT_SECONDS).close()


def _nodes() -> Iterator[tuple[float, float]]:
    """Cores and GPUs of each live node."""
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["Alive"]:
            yield node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0)


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _result(ref: Any, key: object) -> Any:
    """Result of a job; our own errors are raised here as the worker raised them."""
    try:
        return ray.get(ref)
    except RayTaskError as error:
        if isinstance(error.cause, ErnieSearchError):
            raise error.cause from error
        reason = str(error.cause).partition("\n")[0]
        raise ExecutorError(
            f"{key}: failed on a Ray worker ({type(error.cause).__name__}: {reason}); "
            "run the same command again to resume"
        ) from error
    except RayError as error:
        reason = str(error).partition("\n")[0]
        raise ExecutorError(
            f"{key}: its Ray workers were lost {RETRIES + 1} times ({type(error).__name__}: {reason}); "
            "check the memory of the nodes, then run the same command again to resume"
        ) from error


def _do(
    held: list[Any],
    work: Work[Job, Result],
    job: Job,
    threads: int,
    gpus: float,
    versions: dict[str, str],
) -> Result:
    """Do a job in a worker, with the model that this process may already hold."""
    name = held[0].hex()
    if name not in _held:
        _check_versions(versions, builds=not gpus)
        _held.clear()
        model = ray.get(held[0])
        _held[name] = _on_gpu(model) if gpus else model
        _configure_torch(threads)
    return work(_held[name], job, None)


def _check_versions(versions: dict[str, str], builds: bool) -> None:
    """Refuse other package versions; ``builds``: so do other builds of a version (``+cpu``, ``+cu130``)."""
    for name, expected in versions.items():
        found = version(name)
        if found != expected and (builds or found.partition("+")[0] != expected.partition("+")[0]):
            raise ExecutorError(
                f"Ray worker on {_here()}: has {name} {found}, not {expected}; install the same everywhere"
            )


def _on_gpu(model: Any) -> Any:
    import torch

    if not torch.cuda.is_available():
        raise ExecutorError(
            f"Ray worker on {_here()}: was given a GPU, but torch cannot use it; install torch for CUDA "
            "there, or give workers no GPU"
        )
    return model.to("cuda")


def _here() -> str:
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def _configure_torch(threads: int) -> None:
    """Give torch in this worker the threads of the process that asks."""
    if "torch" not in sys.modules:
        return
    import torch

    torch.set_num_threads(threads)
