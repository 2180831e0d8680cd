"""Options that choose the executor of encoding and scoring."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ernie_search.encoding.executors import Executor

ExecutorName = Annotated[
    str, typer.Option("--executor", help="Where the work is done: local (this process) or ray (a cluster).")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster: host:6379, ray://host:10001, or auto; by default a local one is started."
    ),
]
WorkerCpus = Annotated[
    int | None,
    typer.Option(help="Cores of a Ray worker; by default as many as this process uses."),
]
WorkerGpus = Annotated[
    float | None,
    typer.Option(help="GPUs of a Ray worker; none by default. A fraction (0.5) lets workers share one."),
]


@contextlib.contextmanager
def opened(name: str, address: str | None, cpus: int | None, gpus: float | None) -> Iterator["Executor"]:
    """Open an executor for a ``with`` block, and close it afterwards."""
    from ernie_search.encoding.executors import open_executor

    executor = open_executor(name, address, cpus, gpus)
    try:
        yield executor
    finally:
        executor.close()
