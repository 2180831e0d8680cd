"""Executors: where passages are encoded and pairs are scored, in this process or on a Ray cluster."""

from ernie_search._util.files import did_you_mean
from ernie_search.encoding.executors.executor import Executor, LocalExecutor
from ernie_search.errors import SettingsError

__all__ = ["EXECUTORS", "Executor", "LocalExecutor", "open_executor"]

EXECUTORS = ("local", "ray")


def open_executor(
    name: str = "local", address: str | None = None, cpus: int | None = None, gpus: float | None = None
) -> Executor:
    """Open an executor; close it after use.

    Args:
        name: ``local`` (this process) or ``ray`` (needs the extra ``ray``).
        address: of a Ray cluster (``host:6379``, ``ray://host:10001``, ``auto``); None starts a local one.
        cpus: cores of each Ray worker, which are its threads; by default as many as this process uses.
        gpus: of each Ray worker; none by default. A fraction (0.5) lets workers share a GPU.

    Raises:
        SettingsError: an unknown name, options of Ray without it, or Ray is not installed.
        ExecutorError: no cluster answers at the address.
    """
    if name not in EXECUTORS:
        raise SettingsError(
            f"unknown executor {name!r}{did_you_mean(name, EXECUTORS)}; choose one of {EXECUTORS}"
        )
    if name == "local":
        options = {"address": address, "cores of a worker": cpus, "GPUs of a worker": gpus}
        for what, value in options.items():
            if value is not None:
                raise SettingsError(f"executor 'local' takes no {what}; add: --executor ray")
        return LocalExecutor()
    from ernie_search.encoding.executors.ray import RayExecutor

    return RayExecutor(address, cpus=cpus, gpus=gpus or 0)
