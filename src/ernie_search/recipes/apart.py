"""A stage in a process of its own, outside of the world that ``torchrun`` made.

Only trainings are shared between processes. Mining, teachers and scoring are one process's work, and the
libraries that do it must not find out that there are others: they would wait for them. So rank 0 starts a
process without the launcher's variables, and hands on what that tells.
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

from ernie_search.errors import ErnieSearchError, TrainingError
from ernie_search.process_memory import peak_memory
from ernie_search.recipes.task import PEAK, Done, Task, Work

NAMES = frozenset(
    {
        *("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME", "MASTER_ADDR", "MASTER_PORT"),
        *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE"),
    }
)
FAMILIES = ("TORCHELASTIC_", "TORCH_NCCL_", "ACCELERATE_")
"""What ``torchrun`` and ``accelerate launch`` set: names, and beginnings of names."""
SOURCE = "from ernie_search.recipes.apart import serve; serve()"


def apart(task: Task, work: Work) -> Done:
    """Have another process do a stage.

    Args:
        task: what to do; its observer is told here of what happens there.
        work: of the stage's kind; a function of a module.

    Raises:
        ErnieSearchError: what the work refused.
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
                    pickle.dump((replace(task, observer=_silent), work), stdin)
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
        f"{task.folder}: the process that did stage {task.stage.name!r} ended with status "
        f"{process.returncode}; see its own message, and run the same command again to go on"
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
    """Do what comes in on stdin; tell of it on the pipe whose number is the first argument."""
    tell, parent = int(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    task, work = pickle.load(sys.stdin.buffer)
    with open(tell, "wb") as events:

        def say(what: str, value: Any) -> None:
            pickle.dump((what, value), events)
            events.flush()

        try:
            done = work(replace(task, observer=lambda event, values: say("event", (event, values))))
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


def _silent(event: str, values: dict[str, Any]) -> None:
    """In the place of an observer, which cannot be handed to another process."""
