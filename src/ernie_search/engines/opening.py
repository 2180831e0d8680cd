"""An engine by its name."""

from ernie_search.engines.local import LocalEngine
from ernie_search.engines.protocol import Engine
from ernie_search.errors import SettingsError
from ernie_search.files import did_you_mean

ENGINES = ("local", "ray")


def open_engine(name: str = "local", address: str | None = None, cpus: int | None = None) -> Engine:
    """The engine that does the work; close it after use.

    Args:
        name: ``local`` (this process) or ``ray`` (needs the extra ``ray``).
        address: of a Ray cluster (``host:6379``, ``ray://host:10001``, ``auto``); None starts a local one.
        cpus: cores of each Ray worker, which are its threads; by default as many as this process uses.

    Raises:
        SettingsError: an unknown name, options of Ray without it, or Ray is not installed.
        EngineError: no cluster answers at the address.
    """
    if name not in ENGINES:
        raise SettingsError(f"engine {name!r}: there is none{did_you_mean(name, ENGINES)}; one of {ENGINES}")
    if name == "local":
        if address is not None or cpus is not None:
            given = "an address" if address is not None else "cores of a worker"
            raise SettingsError(f"engine 'local' takes no {given.split(' ', 1)[1]}; add: --engine ray")
        return LocalEngine()
    from ernie_search.engines.ray_engine import RayEngine

    return RayEngine(address, cpus=cpus)
