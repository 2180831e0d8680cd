"""Starts ranks as ``torchrun`` does, from one process that has imported torch already.

Most of what a rank of a tiny run costs is importing torch and transformers. Here one process imports them,
once for a whole module of tests, and each rank is a fork of it. What a rank sees is what the launcher gives
it: its number, the size of the world, and a store for the exchange that outlives any rank. How a run ends
when a rank fails is the launcher's own business, so tests of that use :func:`ranks.launch`.
"""

import atexit
import contextlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from typing import Any

from ranks import TESTS, child_environment, free_port, script_of

PATIENCE = 900
"""Seconds for one job."""


class Starter:
    """One process that waits for jobs; ``with Starter() as starter:``."""

    def __enter__(self) -> "Starter":
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            env=child_environment({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return self

    def __exit__(self, *raised: object) -> None:
        self._end()
        self.process.communicate()

    def _end(self) -> None:
        """Kill it with all that it has forked."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def launch(
        self, ranks: int, code: str, *arguments: str, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """As :func:`ranks.launch`; ``stderr`` is of all ranks, the exit status the first that is not 0."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        job = {
            "script": str(script_of(ranks, code, arguments)),
            "ranks": ranks,
            "arguments": arguments,
            "environment": environment or {},
            "port": free_port(),
        }
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        patience = threading.Timer(PATIENCE, self._end)
        patience.start()
        answer = self.process.stdout.readline()
        patience.cancel()
        assert answer, f"the starter of ranks ended, or the ranks took more than {PATIENCE} seconds"
        found = json.loads(answer)
        return subprocess.CompletedProcess(["ranks"], found["status"], "", found["stderr"])


def _rank(rank: int, job: dict[str, Any], errors: int) -> None:
    """Run the script as rank ``rank``; never returns."""
    world = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": job["ranks"],
        "LOCAL_WORLD_SIZE": job["ranks"],
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": job["port"],
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    os.environ.update({name: str(value) for name, value in world.items()})
    os.environ.update(job["environment"])
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    sys.argv = [job["script"], *job["arguments"]]
    status = 1
    try:
        runpy.run_path(job["script"], run_name="__main__")
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stderr.flush()
        os._exit(status)


def _serve(job: dict[str, Any]) -> dict[str, Any]:
    """Fork the ranks, hold their store until all have ended, and say how."""
    from datetime import timedelta

    from torch.distributed import TCPStore

    with tempfile.TemporaryFile() as errors:
        ranks = []
        for rank in range(job["ranks"]):
            child = os.fork()
            if child == 0:
                _rank(rank, job, errors.fileno())
            ranks.append(child)
        # After the forks, which its thread would not survive; a rank that comes first tries again.
        store = TCPStore(
            "127.0.0.1", job["port"], is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60)
        )
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in ranks]
        del store
        errors.seek(0)
        text = errors.read().decode("utf-8", errors="replace")
    return {"status": next((end for end in ends if end), 0), "stderr": text}


def _main() -> None:
    """A job a line in, an answer a line out; each job in a fork, so that no thread of one meets the next."""
    import matplotlib.pyplot  # noqa: F401 - the modules that a run would import as it goes
    import tensorboard  # noqa: F401

    import ernie_search.training.joint  # noqa: F401
    import tiny_training  # noqa: F401

    answers = os.dup(1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.write(answers, (json.dumps(_serve(json.loads(line))) + "\n").encode())
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    sys.path.insert(0, str(TESTS))
    _main()
