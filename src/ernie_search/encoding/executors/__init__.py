"""Where the work of encoding and scoring is done: in this process, or on a Ray cluster."""

from ernie_search._util.files import did_you_mean
from ernie_search.encoding.executors.executor import Engine, LocalEngine
from ernie_search.errors import SettingsError

__all__ = ["ENGINES", "Engine", "LocalEngine", "open_engine"]

ENGINES = ("local", "ray")


def open_engine(
    name: str = "local", address: str | None = None, cpus: int | None = None, gpus: float | None = None
) -> Engine:
    """The engine that does the work; close it after use.

    Args:
        name: ``local`` (this process) or ``ray`` (needs the extra ``ray``).
        address: of a Ray cluster (``host:6379``, ``ray://host:10001``, ``auto``); None starts a local one.
        cpus: cores of each Ray worker, which are its threads; by default as many as this process uses.
        gpus: of each Ray worker; none by default, a part of one lets workers share it.

    Raises:
        SettingsError: an unknown name, options of Ray without it, or Ray is not installed.
        EngineError: no cluster answers at the address.
    """
    if name not in ENGINES:
        raise SettingsError(f"engine {name!r}: there is none{did_you_mean(name, ENGINES)}; one of {ENGINES}")
    if name == "local":
        options = {"address": address, "cores of a worker": cpus, "GPUs of a worker": gpus}
        for what, value in options.items():
            if value is not None:
                raise SettingsError(f"engine 'local' takes no {what}; add: --engine ray")
        return LocalEngine()
    from ernie_search.encoding.executors.ray import RayEngine

    return RayEngine(address, cpus=cpus, gpus=gpus or 0)
