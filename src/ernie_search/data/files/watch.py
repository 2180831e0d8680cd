"""Waiting for changes of a folder of documents."""

import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path

from ernie_search.data.files.collection import FilesCollection
from ernie_search.data.files.walk import NOT_WALKED

POLL_SECONDS = 2.0
"""Between two looks at all files, where the system cannot tell of changes."""
DEBOUNCE_MS = 1000
"""Changes that follow each other as fast are taken up together."""


def changes(files: FilesCollection) -> Iterator[None]:
    """Yields once at the beginning, when it watches already, and then whenever files may have changed.

    Through ``watchfiles`` where that is installed (the extra ``files``), else by looking every two seconds.
    """
    if importlib.util.find_spec("watchfiles") is None:
        yield from _polled(files)
        return
    from watchfiles import watch

    root = files.root.resolve()
    excluded = [path.resolve() for path in files.exclude]

    def wanted(_: object, name: str) -> bool:
        path = Path(name)
        if any(path.is_relative_to(one) for one in excluded):
            return False
        parts = path.relative_to(root).parts if path.is_relative_to(root) else path.parts[-1:]
        return not any(
            part in NOT_WALKED or (part.startswith(".") and part != ".gitignore") for part in parts
        )

    first = True
    for found in watch(
        root, watch_filter=wanted, debounce=DEBOUNCE_MS, rust_timeout=DEBOUNCE_MS, yield_on_timeout=True
    ):
        if found or first:
            yield
        first = False


def _polled(files: FilesCollection) -> Iterator[None]:
    before = None
    while True:
        now = [(one.path, one.size, one.mtime_ns) for one in files.walk().files]
        if now != before:
            yield
        before = now
        time.sleep(POLL_SECONDS)
