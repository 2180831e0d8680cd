"""The options that say where work is done, and the engine that they name."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ernie_search.encoding.executors import Engine

EngineName = Annotated[
    str, typer.Option("--engine", help="Where the work is done: local (this process) or ray (a cluster).")
]
Address = Annotated[
    str | None,
    typer.Option(help="Of the Ray cluster: host:6379, ray://host:10001, auto. Without, a local one starts."),
]
WorkerCpus = Annotated[
    int | None,
    typer.Option(help="Cores of a Ray worker; by default as many as one process uses here."),
]
WorkerGpus = Annotated[
    float | None,
    typer.Option(help="GPUs of a Ray worker; none by default. A part of one (0.5) lets workers share it."),
]


@contextlib.contextmanager
def opened(name: str, address: str | None, cpus: int | None, gpus: float | None) -> Iterator["Engine"]:
    """The engine, closed afterwards."""
    from ernie_search.encoding.executors import open_engine

    engine = open_engine(name, address, cpus, gpus)
    try:
        yield engine
    finally:
        engine.close()
