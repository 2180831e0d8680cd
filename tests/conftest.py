"""What all tests share: no network, quiet libraries, and the way to the real data."""

import os

# Before any test imports transformers or datasets, which read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["ERNIE_SEARCH_BF16"] = "never"  # on a processor where it pays, too: what is compared is fp32
if "PYTEST_XDIST_WORKER" in os.environ:
    # The tests' models are tiny: threads of one worker would only wait for those of the other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import socket
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"
sys.path.append(str(Path(__file__).parent))  # for the modules beside this file that several tests share


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
