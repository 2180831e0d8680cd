"""A stage in a process of its own, which knows nothing of the others that ``torchrun`` started.

Only trainings are shared between processes. Mining, teachers and scoring are done by one, and the libraries
behind them must not find out that there are others: they would wait for them. So rank 0 starts a process
without the launcher's variables, and hands on what that tells.
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
"""What ``torchrun`` and ``accelerate launch`` set: names, and beginnings of names."""
SOURCE = "from ernie_search.pipeline.subprocess_stage import serve; serve()"
PEAK = "peak_bytes"
"""Of a manifest's counts: main memory that the process held at most in the call that finished the stage; with
all that it held before, such as the libraries, but not what other processes held."""


def in_subprocess(stage: Stage[Any], task: Task) -> Done:
    """Have another process execute a stage.

    Args:
        stage: of a kind that the other process can import.
        task: what to do; its observer is told here of what happens there.

    Raises:
        ErnieSearchError: what the stage refused.
        TrainingError: the process died.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in NAMES and not name.startswith(FAMILIES)
    }
    told, tell = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", SOURCE, str(tell), str(os.getpid())],
        stdin=subprocess.PIPE,
        pass_fds=(tell,),
        env=environment,
    ) as process:
        os.close(tell)
        try:
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError), process.stdin as stdin:  # it died; said below
                    pickle.dump((stage, replace(task, observer=ignore_event)), stdin)
            with open(told, "rb") as events:
                found = _heard(events, task)
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


def _heard(events: Any, task: Task) -> Any:
    """Hand on events until there are no more; what the last message brought."""
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
    """Execute the stage that comes in on stdin; tell of it on the pipe that the first argument numbers."""
    tell, parent = int(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    stage, task = pickle.load(sys.stdin.buffer)
    with open(tell, "wb") as events:

        def say(what: str, value: Any) -> None:
            pickle.dump((what, value), events)
            events.flush()

        try:
            done = stage.execute(replace(task, observer=lambda event, values: say("event", (event, values))))
            peak = peak_memory()
            counts = dict(done.counts) | ({} if peak is None else {PEAK: peak})
            say("done", replace(done, counts=counts))
        except ErnieSearchError as error:
            say("error", error)
            sys.exit(2)


def _end_with(parent: int) -> None:
    """End when the process that waits for this one is gone: the next start must find nobody in the folder."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
