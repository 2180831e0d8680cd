"""The memory of this process: how much it held at most, and what the C library does with freed blocks."""

import ctypes
from pathlib import Path

from ernie_search.hardware import value_of


def forget_peak_memory() -> bool:
    """Let ``peak_memory`` count from now on; whether that is possible here (on Linux it mostly is)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_memory(status: Path = Path("/proc/self/status")) -> int | None:
    """Bytes of main memory that this process held at most since ``forget_peak_memory``; ``None`` where the
    system does not say."""
    value, _, unit = value_of(status, "VmHWM").partition(" ")
    return int(value) * 1024 if value.isdigit() and unit == "kB" else None


def keep_freed_memory(largest: int = 1 << 30) -> bool:
    """Ask glibc to keep freed blocks instead of giving them back to the system at once.

    A step frees and takes the same hundreds of megabytes; given back each time, every page is faulted in and
    cleared again. What that costs a training step, ``benchmarks/step_parts.py`` measures.

    Args:
        largest: bytes from which a block is not kept. Kept blocks of ever other sizes, between others that
            stay, leave holes: where memory is what counts, only small ones are worth keeping.

    Returns:
        whether the C library took both settings; elsewhere than on glibc nothing happens.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(_M_MMAP_THRESHOLD, largest)) and bool(
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        )
    except (OSError, AttributeError):
        return False


def share_arenas(most: int = 2) -> bool:
    """Have all threads take memory from ``most`` of glibc's arenas; to be called before there are threads.

    By default eight a processor: what one thread frees in its arena is of no use to the others, and a store's
    threads come and go.

    Returns:
        whether the C library took it; elsewhere than on glibc nothing happens.
    """
    try:
        return bool(ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, most))
    except (OSError, AttributeError):
        return False


def release_freed_memory() -> bool:
    """Give freed blocks back to the system now, from all of glibc's arenas, whatever it was told to keep.

    Returns:
        whether there was something to give back; False elsewhere than on glibc.
    """
    try:
        return bool(ctypes.CDLL("libc.so.6").malloc_trim(0))
    except (OSError, AttributeError):
        return False


_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
"""Names of ``mallopt``'s parameters, from glibc's malloc.h."""
