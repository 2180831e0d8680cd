"""Execution of a stage in a process of its own, outside those that ``torchrun`` started.

Only trainings are shared between processes. Mining, teachers and scoring run in one, and the libraries behind
them must not learn of the others, as they would wait for them. So rank 0 starts a process without the
launcher's variables, and passes its events on.
"""

import contextlib
import os
import pickle
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import Any

from ernie_search._util.hardware import peak_memory
from ernie_search.errors import ErnieSearchError, TrainingError
from ernie_search.pipeline.stage import Done, Stage, Task
from ernie_search.training.joint import ignore_event

NAMES = frozenset(
    {
        *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"),
        *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE"),
    }
)
FAMILIES = ("TORCHELASTIC_", "TORCH_NCCL_", "ACCELERATE_")
"""Variables that ``torchrun`` and ``accelerate launch`` set: names, and prefixes of names."""
SOURCE = "from ernie_search.pipeline.subprocess_stage import serve; serve()"
PEAK = "peak_bytes"
"""In a manifest's counts: peak memory of the process in the call that finished the stage, including what it
held before, such as the libraries."""


def in_subprocess(stage: Stage[Any], task: Task) -> Done:
    """Execute a stage in another process.

    Args:
        stage: of a kind that the other process can import.
        task: what to do; its observer is called here with the events of the other process.

    Raises:
        ErnieSearchError: what the stage refused.
        TrainingError: the process died.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in NAMES and not name.startswith(FAMILIES)
    }
    events_in, events_out = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", SOURCE, str(events_out), str(os.getpid())],
        stdin=subprocess.PIPE,
        pass_fds=(events_out,),
        env=environment,
    ) as process:
        os.close(events_out)
        try:
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError), process.stdin as stdin:  # it died; reported below
                    pickle.dump((stage, replace(task, observer=ignore_event)), stdin)
            with open(events_in, "rb") as events:
                found = _pass_on(events, task)
        finally:
            if process.poll() is None and sys.exc_info()[0] is not None:
                process.kill()
    if isinstance(found, Done):
        return found
    if isinstance(found, ErnieSearchError):
        raise found
    raise TrainingError(
        f"{task.folder}: the process that did stage {stage.name!r} ended with status "
        f"{process.returncode}; see its own message, and run the same command again to resume"
    )


def _pass_on(events: Any, task: Task) -> Any:
    """Pass events on to the observer until they end; return the last message."""
    found: Any = None
    while True:
        try:
            what, value = pickle.load(events)
        except EOFError:
            return found
        if what == "event":
            task.observer(*value)
        else:
            found = value


def serve() -> None:
    """Execute the stage read from stdin; write its events to the pipe that the first argument numbers."""
    events_out, parent = int(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    stage, task = pickle.load(sys.stdin.buffer)
    with open(events_out, "wb") as events:

        def send(what: str, value: Any) -> None:
            pickle.dump((what, value), events)
            events.flush()

        try:
            done = stage.execute(replace(task, observer=lambda event, values: send("event", (event, values))))
            peak = peak_memory()
            counts = dict(done.counts) | ({} if peak is None else {PEAK: peak})
            send("done", replace(done, counts=counts))
        except ErnieSearchError as error:
            send("error", error)
            sys.exit(2)


def _end_with(parent: int) -> None:
    """End when the parent process is gone, so that nothing works in the folder any more."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
