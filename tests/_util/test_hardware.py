"""The machine is measured: here the clock and the kernel's files are made up, so every answer is known."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from ernie_search._util import hardware


@pytest.fixture(autouse=True)
def nothing_decided(monkeypatch):
    """Unlike other tests: here the processor is asked."""
    monkeypatch.delenv("ERNIE_SEARCH_BF16", raising=False)


class FakeClock:
    """Time passes only when a piece of work says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, *seconds: float):
        """Work that takes the given seconds, call by call; the last one repeats."""
        times = list(seconds)

        def run() -> None:
            self.now += times.pop(0) if len(times) > 1 else times[0]

        return run


def test_speedup_is_the_ratio_of_the_best_times_without_the_first_round():
    clock = FakeClock()
    slow = clock.work(0.5e-3, 8e-3, 6e-3, 7e-3)  # the first call, untimed, would win
    fast = clock.work(1e-6, 3e-3, 2e-3, 4e-3)
    assert hardware.speedup(slow, fast, seconds=0.08, clock=clock) == pytest.approx(6e-3 / 2e-3)
    assert clock.now < 0.1


def test_speedup_gives_up_early_on_a_processor_where_one_call_takes_ages():
    clock = FakeClock()
    ratio = hardware.speedup(clock.work(4e-3), clock.work(2.0), seconds=0.08, clock=clock)
    assert ratio == pytest.approx(4e-3 / 2.0)
    assert clock.now == pytest.approx(2.004)  # one round, not four


def test_speedup_measures_some_rounds_even_when_each_is_longish():
    clock = FakeClock()
    hardware.speedup(clock.work(0.03), clock.work(0.03), seconds=0.08, clock=clock)
    assert 4 * 0.06 <= clock.now <= 0.4


@pytest.mark.parametrize(("measured", "expected"), [(0.53, False), (1.29, False), (1.3, True), (6.0, True)])
def test_a_processor_prefers_bf16_by_measurement_alone(monkeypatch, measured, expected):
    monkeypatch.setattr(hardware, "bf16_speedup", lambda: measured)
    assert hardware.prefers_bf16("cpu") is expected


@pytest.mark.needs_torch
def test_an_absent_gpu_never_prefers_bf16(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not hardware.prefers_bf16(torch.device("cuda", 0))
    assert not hardware.prefers_bf16("mps")


@pytest.mark.needs_torch
def test_a_gpu_prefers_bf16_when_it_has_it_natively(monkeypatch):
    import torch

    asked = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **options: asked.update(options) or True)
    assert hardware.prefers_bf16("cuda:1")
    assert asked == {"including_emulation": False}


@pytest.mark.needs_torch
def test_the_real_measurement_is_a_positive_number_made_once_and_leaves_the_threads_alone():
    import torch

    threads = torch.get_num_threads()
    first = hardware.bf16_speedup()
    assert torch.get_num_threads() == threads
    assert math.isfinite(first)
    assert first > 0
    assert hardware.bf16_speedup() is first


def test_flags_and_name_come_from_cpuinfo(tmp_path: Path):
    path = tmp_path / "cpuinfo"
    path.write_text(
        "processor\t: 0\nmodel name\t: Some Xeon\nflags\t\t: fpu avx512_bf16 avx512_bf16x amx_tile\n\n"
    )
    assert hardware.processor_flags(path) == ("avx512_bf16",)
    assert hardware.processor_name(path) == "Some Xeon"
    assert hardware.processor_flags(tmp_path / "absent") == ()
    assert hardware.processor_name(tmp_path / "absent")


@pytest.fixture
def eight_gigabytes(monkeypatch):
    monkeypatch.setattr(
        hardware.psutil, "virtual_memory", lambda: SimpleNamespace(total=8 << 30, available=6 << 30)
    )


@pytest.mark.usefixtures("eight_gigabytes")
def test_the_container_s_limit_counts_and_its_page_cache_does_not(tmp_path: Path):
    (tmp_path / "memory.max").write_text(f"{4 << 30}\n")
    (tmp_path / "memory.current").write_text(f"{3 << 30}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {1 << 30}\nactive_file 9\n")
    assert hardware.memory(tmp_path) == (4 << 30, 2 << 30)


@pytest.mark.usefixtures("eight_gigabytes")
def test_the_older_cgroup_layout_is_read_too(tmp_path: Path):
    folder = tmp_path / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text(f"{2 << 30}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{3 << 30}\n")
    assert hardware.memory(tmp_path) == (2 << 30, 0)


@pytest.mark.usefixtures("eight_gigabytes")
@pytest.mark.parametrize("limit", ["max", str((1 << 63) - 4096), None])
def test_without_a_limit_the_machine_s_own_figures_stand(tmp_path: Path, limit):
    if limit is not None:
        (tmp_path / "memory.max").write_text(limit)
    assert hardware.memory(tmp_path) == (8 << 30, 6 << 30)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000", 8), ("150000 100000", 2), ("50000 100000", 1), ("9900000 100000", 8), ("", 8)],
)
def test_cores_respect_affinity_and_the_container_s_share(tmp_path: Path, monkeypatch, text, expected):
    monkeypatch.setattr(hardware.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (tmp_path / "cpu.max").write_text(text)
    assert hardware.cores(tmp_path) == expected


@pytest.mark.needs_torch
def test_the_inspection_says_which_precision_follows(monkeypatch):
    monkeypatch.setattr(hardware, "accelerators", lambda: ())
    monkeypatch.setattr(hardware, "bf16_speedup", lambda: 3.0)
    machine = hardware.inspect()
    assert machine.precision == "bf16"
    assert machine.cores >= 1
    assert 0 < machine.memory_available <= machine.memory_total


def test_the_environment_can_say_no(monkeypatch):
    monkeypatch.setattr(hardware, "bf16_speedup", lambda: 6.0)
    monkeypatch.setenv("ERNIE_SEARCH_BF16", "never")
    assert not hardware.prefers_bf16("cpu")
