"""Encoders that fail or leave traces, importable by processes other than the test's."""

import os
import signal
from pathlib import Path

from ernie_search.errors import ModelError
from stub_encoder import StubEncoder


class LossyEncoder(StubEncoder):
    """Kills its own process at ``deadly``, unless the file ``died`` says that it has done so before."""

    def __init__(self, deadly: str, died: Path) -> None:
        super().__init__()
        self.deadly, self.died = deadly, died

    def encode_joint(self, texts, *args, **settings):
        if self.deadly in texts and not self.died.exists():
            self.died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode_joint(texts, *args, **settings)


class CountingEncoder(StubEncoder):
    """Leaves a file a call in ``folder``, named by the first text: what was encoded, in whichever process."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def encode_joint(self, texts, *args, **settings):
        (self.folder / f"{len(list(self.folder.iterdir()))}-{os.getpid()}-{texts[0][:20]}").touch()
        return super().encode_joint(texts, *args, **settings)


class RefusingEncoder(StubEncoder):
    """Fails as a broken model does."""

    def encode_joint(self, *args, **settings):
        raise ModelError("stub: broken on purpose")


class CrashingEncoder(StubEncoder):
    """Fails as nobody foresaw."""

    def encode_joint(self, *args, **settings):
        raise ValueError("unforeseen\nsecond line")


def double(model: object, job: int, progress: object = None) -> int:
    """A piece of work."""
    return 2 * job
