"""How much this process held, and what glibc does with what is freed."""

import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from ernie_search._util import hardware as process_memory


def test_peak_memory_counts_from_when_it_was_forgotten(tmp_path: Path):
    if not process_memory.forget_peak_memory():
        pytest.skip("this system cannot forget the peak")
    before = process_memory.peak_memory()
    with mmap.mmap(-1, 64 * 2**20) as held:  # the heap may keep as much free from an earlier test
        for page in range(0, len(held), 4096):
            held[page] = 1
        peak = process_memory.peak_memory()
    assert peak - before > 48 * 2**20
    assert process_memory.forget_peak_memory()
    assert process_memory.peak_memory() < peak - 32 * 2**20
    assert process_memory.peak_memory(tmp_path / "none") is None


def test_few_arenas_and_freed_memory_goes_back():
    """In a process of its own, as the settings cannot be taken back."""
    code = """
import gc, os, sys, threading
from ernie_search._util.hardware import release_freed_memory, share_arenas
if not share_arenas():
    sys.exit(77)
held = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
blocks, pins = [], []
def fill():  # the pin stays behind the blocks, as what is in use lies behind what was freed
    blocks.extend(bytes(2**16) + b"x" for _ in range(128))  # small enough to be kept
    pins.append(bytes(2**16) + b"x")
for _ in range(8):
    thread = threading.Thread(target=fill); thread.start(); thread.join()
full = held()
blocks.clear()
kept = held()
release_freed_memory()
print(full - kept < 16 * 2**20, full - held() > 48 * 2**20)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("not glibc")
    assert done.stdout.split() == ["True", "True"], done.stderr


@pytest.mark.parametrize(("above", "gone"), [(1 << 20, True), (1 << 30, False)])
def test_large_blocks_go_back_at_once(above: int, gone: bool):
    code = f"""
import os, sys
from ernie_search._util.hardware import return_large_blocks
if not return_large_blocks({above}):
    sys.exit(77)
held = lambda: int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
blocks = [bytes(2**22) + b"x" for _ in range(16)]
pin = bytes(2**19) + b"x"  # behind the blocks, as what is in use lies behind what was freed
full = held()
blocks.clear()
print(full - held() > 48 * 2**20)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip("not glibc")
    assert done.stdout.split() == [str(gone)], done.stderr
