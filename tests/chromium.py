"""A real Chromium for tests of pages; a module that imports this is skipped where playwright is missing."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="the page is tested in a browser: pip install playwright"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"
)
PATIENCE = 30_000
"""Milliseconds, on a machine that is busy with other tests."""
expect = playwright.expect
expect.set_options(timeout=PATIENCE)


@contextmanager
def opened() -> Iterator[object]:
    """Chromium while the block runs; without its sandbox, which it refuses to root in containers and CI."""
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
