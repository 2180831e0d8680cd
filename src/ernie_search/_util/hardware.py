"""What this machine can do, as measured, and settings of its C library.

A processor flag says that an instruction exists, not that it pays: on one machine with AVX512-BF16 (no AMX) a
2048^3 product is slower in bf16 than in fp32 (benchmarks/RESULTS.md). So the precision follows a short
measurement.
"""

import ctypes
import functools
import importlib.util
import math
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch


BF16_FLAGS = ("amx_bf16", "avx512_bf16", "avx512_fp16", "avx512_vnni")
"""Processor flags that bear on low precision, as /proc/cpuinfo spells them."""

BF16_WORTH = 1.3
"""From this ratio on bf16 is used on a processor: below it, the casts of autocast eat the gain."""

MEASURE_SECONDS = 0.08
"""How long the bf16 measurement may take, give or take one product."""

Clock = Callable[[], float]
Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Accelerator:
    """A GPU that torch can use. ``memory`` is in bytes, None where torch does not say."""

    kind: str
    name: str
    memory: int | None
    bf16: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """This machine, as this process may use it. Memory is in bytes."""

    processor: str
    cores: int
    memory_total: int
    memory_available: int
    flags: tuple[str, ...]
    bf16_speedup: float
    precision: str
    torch: str | None
    accelerators: tuple[Accelerator, ...]


def cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Processors that this process may use: its affinity and its container's share of the machine."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _text(cgroup / "cpu.max").partition(" ")  # "max 100000" when there is no limit
    if quota.isdigit() and period.isdigit():
        count = min(count, max(1, math.ceil(int(quota) / int(period))))
    return count


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's marketing name, or its architecture where Linux does not say."""
    return value_of(cpuinfo, "model name") or platform.processor() or platform.machine()


def processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """Which of ``BF16_FLAGS`` the processor has; empty where there is no /proc/cpuinfo."""
    found = set(value_of(cpuinfo, "flags").split())
    return tuple(flag for flag in BF16_FLAGS if flag in found)


def _text(path: Path) -> str:
    """Content of a file of the kernel; empty where it is absent or not readable."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def value_of(path: Path, key: str) -> str:
    """Value of ``key`` in a file of "name: value" lines; empty where it is not there."""
    for line in _text(path).splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def memory(cgroup: Path = Path("/sys/fs/cgroup")) -> tuple[int, int]:
    """Total and available memory in bytes, the container's limit counted in.

    psutil reads the machine's own figures, which inside a container are larger than what may be used.
    """
    machine = psutil.virtual_memory()
    total, available = int(machine.total), int(machine.available)
    for limit_file, used_file, cache_key in (
        ("memory.max", "memory.current", "inactive_file"),  # cgroup v2
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),  # v1
    ):
        limit, used = _number(cgroup / limit_file), _number(cgroup / used_file)
        if limit is None or limit >= total:  # "max", or v1's huge number: no limit
            continue
        # The page cache counts as used but is given back on demand.
        cache = _statistic(cgroup / limit_file, cache_key)
        total = limit
        available = min(available, max(0, limit - (used or 0) + cache))
    return total, available


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _statistic(beside: Path, key: str) -> int:
    lines = (line.split() for line in _text(beside.with_name("memory.stat")).splitlines())
    return next((int(value) for name, value in lines if name == key), 0)


def speedup(
    slow: Work, fast: Work, seconds: float = MEASURE_SECONDS, clock: Clock = time.perf_counter
) -> float:
    """Speedup of ``fast`` over ``slow``: the ratio of their best times.

    The two run in turn, so that what else the machine does hits both; the first round is not timed
    (it makes kernels and buffers), unless a single call is so slow that there is no time for another.
    """
    best_slow = best_fast = math.inf
    start = clock()
    rounds = 0
    while True:
        before = clock()
        slow()
        between = clock()
        fast()
        after = clock()
        out_of_time = after - start > seconds
        if rounds > 0 or out_of_time:
            best_slow = min(best_slow, between - before)
            best_fast = min(best_fast, after - between)
        rounds += 1
        if out_of_time and (rounds > 3 or after - start > 4 * seconds):
            return best_slow / best_fast if best_fast > 0 else 1.0


@functools.cache
def bf16_speedup() -> float:
    """Measured speedup of a bf16 linear product over fp32 on this processor.

    The product is an encoder's feed-forward layer (1024 x 384 x 1536); the best of several within about 0.1 s
    counts, measured once per process.

    One thread, and its processor time instead of the wall clock: the ratio of two threads changes with what
    other programs do on the same cores.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(1024, 384, generator=generator)
    weight = torch.randn(1536, 384, generator=generator)
    inputs_low, weight_low = inputs.bfloat16(), weight.bfloat16()
    linear = torch.nn.functional.linear
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return speedup(
                lambda: linear(inputs, weight),
                lambda: linear(inputs_low, weight_low),
                clock=time.thread_time,
            )
    finally:
        torch.set_num_threads(threads)


def asks_bf16(precision: str) -> bool | None:
    """Whether a precision is bf16; ``None`` where that is still to be measured (``auto``, or nothing)."""
    return {"bf16": True, "fp32": False, "tf32": False}.get(precision)


def prefers_bf16(device: "str | torch.device" = "cpu") -> bool:
    """Whether bf16 autocast is faster on ``device``.

    On a processor this is measured; a GPU must support it natively.

    ``ERNIE_SEARCH_BF16=never`` in the environment says no everywhere, so that what is left to a measurement
    is fp32: for vectors that several machines make, and for the tests, which compare to the last bits.
    """
    if os.environ.get("ERNIE_SEARCH_BF16") == "never":
        return False
    kind = str(device).partition(":")[0]
    if kind == "cpu":
        return bf16_speedup() >= BF16_WORTH
    import torch

    if kind == "cuda":
        # Emulated bf16 (before Ampere) is supported, but slower than fp32.
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if kind == "xpu":
        return torch.xpu.is_available() and torch.xpu.is_bf16_supported()
    return False  # mps: autocast there is incomplete, fp32 is safe


def has_tf32() -> bool:
    """Whether a GPU here can take products of fp32 numbers with 10 bits (NVIDIA's Ampere and later)."""
    import torch

    return torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8


def accelerators() -> tuple[Accelerator, ...]:
    """The GPUs that torch can use here."""
    import torch

    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        found.append(Accelerator("cuda", properties.name, int(properties.total_memory), prefers_bf16("cuda")))
    for index in range(torch.xpu.device_count() if torch.xpu.is_available() else 0):
        found.append(Accelerator("xpu", torch.xpu.get_device_name(index), None, prefers_bf16("xpu")))
    if torch.backends.mps.is_available():
        found.append(Accelerator("mps", platform.processor(), None, prefers_bf16("mps")))
    return tuple(found)


def default_device() -> str:
    """The device that models run on unless told otherwise: a GPU where torch has one, else "cpu"."""
    found = accelerators()
    return found[0].kind if found else "cpu"


def inspect() -> Machine:
    """This machine's processor, memory, accelerators and precision (imports torch; takes about 0.1 s).

    Without torch there are no accelerators, and bf16 is not measured: ONNX Runtime computes in fp32 or int8.
    """
    total, available = memory()
    if importlib.util.find_spec("torch") is None:
        return Machine(processor_name(), cores(), total, available, processor_flags(), 1.0, "fp32", None, ())
    import torch

    device = default_device()
    return Machine(
        processor=processor_name(),
        cores=cores(),
        memory_total=total,
        memory_available=available,
        flags=processor_flags(),
        bf16_speedup=bf16_speedup(),
        precision="bf16" if prefers_bf16(device) else "fp32",
        torch=torch.__version__,
        accelerators=accelerators(),
    )


def forget_peak_memory() -> bool:
    """Reset what ``peak_memory`` reports; False where the system does not allow it (Linux mostly does)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_memory(status: Path = Path("/proc/self/status")) -> int | None:
    """Largest resident memory in bytes since ``forget_peak_memory``; ``None`` where that is unknown."""
    value, _, unit = value_of(status, "VmHWM").partition(" ")
    return int(value) * 1024 if value.isdigit() and unit == "kB" else None


def return_large_blocks(above: int = 1 << 20) -> bool:
    """Have glibc return every freed block of more than ``above`` bytes to the system at once.

    Left alone, glibc keeps blocks of up to 32 MiB. Where blocks of ever other sizes lie between others that
    stay, as under gradient caching, what it keeps is full of holes that nothing fits into.

    Args:
        above: size in bytes; smaller blocks are kept.

    Returns:
        Whether the C library accepted both settings; on other systems than glibc nothing happens.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        return bool(libc.mallopt(_M_MMAP_THRESHOLD, above)) and bool(
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        )
    except (OSError, AttributeError):
        return False


def share_arenas(most: int = 2) -> bool:
    """Limit glibc to ``most`` arenas of memory for all threads; call it before there are threads.

    The default is eight per processor. What one thread frees in its arena is of no use to the others, and the
    threads of an index come and go.

    Returns:
        Whether the C library accepted it; on other systems than glibc nothing happens.
    """
    try:
        return bool(ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, most))
    except (OSError, AttributeError):
        return False


def release_freed_memory() -> bool:
    """Return freed memory of all of glibc's arenas to the system now.

    Returns:
        Whether any was returned; False on other systems than glibc.
    """
    try:
        return bool(ctypes.CDLL("libc.so.6").malloc_trim(0))
    except (OSError, AttributeError):
        return False


_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
"""Names of ``mallopt``'s parameters, from glibc's malloc.h."""
