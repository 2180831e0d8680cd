"""Commands killed with SIGKILL: real processes, forked from one that has imported the libraries only once.

Started as a program it reads rounds from stdin, a line of JSON each, and answers with what became of each.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

IMPORTED = (
    "ernie_search.ablation",
    "torch.utils.tensorboard",
    "transformers.trainer",
    "transformers.generation.utils",
    "transformers.models.bert.modeling_bert",
)
"""What the commands would import each for itself; none of it starts a thread, which a fork would lack."""

LATEST_KILL = 10.0
"""Seconds that a command which is done waits for its kill, so that a slow watcher cannot miss it."""


@dataclass(frozen=True)
class Round:
    """A command to run.

    Attributes:
        command: its arguments.
        kill_after: beginnings of lines of stderr, which must come in this order; then it is killed. Without
            any it may end.
        delay: seconds from the last of these lines to the kill.
    """

    command: tuple[str, ...]
    kill_after: tuple[str, ...] = ()
    delay: float = 0.0


class Commands:
    """Runs them."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def run(self, one: Round) -> tuple[int, list[str]]:
        """The exit code (negative: the signal), and the lines of stderr."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(one)) + "\n")
        self._process.stdin.flush()
        code, lines = json.loads(self._process.stdout.readline())
        return code, lines


@contextmanager
def commands() -> Iterator[Commands]:
    """The process that forks them, for as long as they are needed."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    program = [sys.executable, str(Path(__file__))]
    pipe = subprocess.PIPE
    with subprocess.Popen(program, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        yield Commands(process)


def _serve() -> None:
    from ernie_search.cli import main

    for name in IMPORTED:
        import_module(name)
    for line in sys.stdin:
        one = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            os.dup2(writing, 2)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.argv = ["ernie-search", *one["command"]]
            try:
                main()
            except SystemExit as end:
                sys.stderr.flush()
                if one["kill_after"]:
                    time.sleep(LATEST_KILL)
                os._exit(int(end.code or 0))
            finally:
                os._exit(70)
        os.close(writing)
        sys.stdout.write(json.dumps(_watch(child, reading, one)) + "\n")
        sys.stdout.flush()


def _watch(child: int, reading: int, one: dict) -> tuple[int, list[str]]:
    """Read its lines; kill it once the wanted ones have come."""
    lines, awaited = [], list(one["kill_after"])
    with open(reading, encoding="utf-8") as handle:
        for line in handle:
            lines.append(line.rstrip())
            if awaited and line.startswith(awaited[0]):
                awaited.pop(0)
                if not awaited:
                    time.sleep(one["delay"])
                    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), lines


if __name__ == "__main__":
    _serve()
