"""What all tests share: no network, quiet libraries, the way to the real data, what runs without torch."""

import os

# Before any test imports transformers or datasets, which read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["ERNIE_SEARCH_BF16"] = "never"  # on a processor where it pays, too: what is compared is fp32
if "PYTEST_XDIST_WORKER" in os.environ:
    # The tests' models are tiny: threads of one worker would only wait for those of the other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import gc
import signal
import socket
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"
sys.path.append(str(Path(__file__).parent))  # for the modules beside this file that several tests share

TRAIN_MODULES = ("torch", "transformers", "sentence_transformers", "accelerate", "datasets", "scipy")
"""What only training needs: the core's environment (``make test-core``) has none of these."""

WITH_TRAINING = (
    *(f"adaptation/test_{name}.py" for name in ("demo", "lists", "plan", "questioned", "run", "verdict")),
    "cli/test_adapt_command.py",
    *("ablation", "benchmarks", "losses", "model", "pipeline", "teacher", "training"),
    *(
        "cli/test_denoise_command.py",
        "cli/test_entropy_warning.py",
        "cli/test_score_commands.py",
        "cli/test_export_command.py",
    ),
    *("cli/test_recipe_commands.py", "cli/test_score_commands.py"),
    *("cli/test_teacher_commands.py", "cli/test_train_command.py"),
    *("encoding/executors/test_ray_executor.py", "search/test_cross.py"),
    *("encoding/test_opening.py", "runtime/test_bert.py", "runtime/test_tokenizer.py"),  # compare with torch
    *("test_examples.py", "test_written_down.py"),
)
"""Folders and files of tests that need the extra ``train``: left out where there is no torch. In all others a
test or a file that needs it says so itself (the marker ``needs_torch``, ``pytest.importorskip``)."""

HAS_TORCH = find_spec("torch") is not None
collect_ignore = [] if HAS_TORCH else list(WITH_TRAINING)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse an environment that is not the one that ``ERNIE_SEARCH_TESTS`` names: "all", or "core"."""
    wanted = os.environ.get("ERNIE_SEARCH_TESTS")
    missing = [name for name in TRAIN_MODULES if find_spec(name) is None]
    if wanted == "all" and missing:
        raise pytest.UsageError(f"tests would be left out, since {', '.join(missing)} cannot be imported")
    if wanted == "core" and len(missing) < len(TRAIN_MODULES):
        present = sorted(set(TRAIN_MODULES) - set(missing))
        raise pytest.UsageError(f"not the core's environment: {', '.join(present)} can be imported")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell's background job ignores Ctrl-C, and so would the processes that tests interrupt.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is left out."""
    return [] if HAS_TORCH else [f"without torch, so without tests/{{{','.join(WITH_TRAINING)}}}"]


SLOW_FIRST = (
    "pipeline",
    "ablation",
    "training",
    "teacher",
    "adaptation",
    "faults",
    "encoding",
    "serve",
    "integrations",
)
"""Folders whose files take longest, so that no process is left with one of them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow folders first; what is marked ``needs_torch`` is skipped where there is none."""
    place = {name: number for number, name in enumerate(SLOW_FIRST)}
    items.sort(key=lambda item: place.get(item.path.relative_to(Path(__file__).parent).parts[0], len(place)))
    if not HAS_TORCH:
        for item in items:
            if item.get_closest_marker("needs_torch"):
                item.add_marker(pytest.mark.skip(reason="needs torch: pip install 'ernie-search[train]'"))


@pytest.fixture(scope="module", autouse=True)
def frozen_modules() -> None:
    """Keep what is there by now out of every collection of garbage.

    A training of two steps collects garbage several times, and torch, transformers and the rest are millions
    of objects that are none: a tenth of such a test's time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that opens a connection to anywhere but this machine fails, and says where it went."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address):
        host = address[0] if isinstance(address, tuple) else None
        if host is not None and host not in ("127.0.0.1", "::1", "localhost"):
            raise RuntimeError(f"a test tried to reach {host}: tests use no network")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real labelled sets, which lies beside the checkout and is no part of it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no real data: ../shared/data is not beside this checkout")
    return SHARED_DATA
