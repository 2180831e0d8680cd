"""Opening an encoder by its use: questions through ONNX Runtime, passages through what is faster."""

import importlib.util
import os
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from ernie_search._util.files import fingerprint, read_json, write_json
from ernie_search._util.hardware import cores, processor_name
from ernie_search.encoder import Encoder
from ernie_search.errors import ModelError, StorageError
from ernie_search.runtime import ONNX_FOLDER, SIDECAR_FILE, Place, Sidecar, open_onnx, require_onnx, resolve
from ernie_search.runtime.cache import cache_folder
from ernie_search.runtime.sidecar import Precision

Use = Literal["questions", "passages"]
Runtime = Literal["auto", "onnx", "torch"]
ChosenPrecision = Literal["auto", "fp32", "int8"]

INT8_COSINE = 0.99
"""Mean cosine of 8-bit vectors to fp32, on both readings, from which precision ``auto`` takes them."""
WORTH = 1.2
"""How much faster torch has to be: below it, its import of seconds is not worth it."""
SPEEDS_FILE = "passage_speeds.json"
GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "/dev/dri")
"""Where a system shows a GPU: NVIDIA's, in WSL, AMD's, any with a driver for drawing."""
PASSAGE = "The rotation of logs is set in a file of its own, and the service is told to open its log again. "
SAMPLE = tuple(f"{number}. {PASSAGE * (2 + number % 3)}" for number in range(16))
"""Passages of 40 to 80 words: what the measurement encodes."""


def open_encoder(
    name: str | Path,
    *,
    use: Use = "questions",
    runtime: Runtime = "auto",
    precision: ChosenPrecision = "fp32",
    device: str | None = None,
) -> Encoder:
    """Open a model as an encoder.

    Questions go through ONNX Runtime wherever there is a graph, or one can be made of the weights. Passages
    go through whichever of torch and ONNX Runtime is faster on this machine: on a GPU torch, elsewhere as
    measured once (see :func:`passage_speeds`). Vectors of both are the same but for rounding.

    Args:
        name: a directory, a hub name (``org/name@revision``), or the bundled base's.
        use: what will be encoded.
        runtime: ``onnx`` or ``torch`` take that one.
        precision: ``int8`` takes a graph of 8-bit weights; ``auto`` does where its loss, measured at its
            export, is small (:data:`INT8_COSINE`).
        device: for torch; naming one says that the encoder will be sent elsewhere, where no file of this
            machine is, so torch is taken where it is installed.

    Raises:
        ModelError: there is no such model, it is damaged, or what is asked for cannot run it.
    """
    chosen: Precision = (
        "int8" if precision == "int8" or (precision == "auto" and int8_suffices(name)) else "fp32"
    )
    if runtime == "torch" or (device is not None and has_torch() and runtime != "onnx"):
        if precision == "int8":
            raise ModelError(
                f"{name}: int8 is a graph's precision; leave out --runtime torch, or --precision"
            )
        return _torch(name, device)
    place = resolve(name)
    if runtime == "onnx" or not has_torch():
        return require_onnx(place, precision=chosen)
    found = open_onnx(place, precision=chosen)
    if found is None:
        return _torch(name, device)
    if use == "questions" or chosen == "int8":
        return found
    return _faster(name, place, found)


def noted_model(name: str | Path) -> tuple[str | Path | None, str]:
    """How an index notes the model that made it: a directory, or what it is found by without one."""
    if Path(name).is_dir():
        return name, ""
    try:
        ref = resolve(name).ref
    except ModelError:
        ref = ""
    return (None if ref else name), ref


def has_torch() -> bool:
    """Whether the extra ``train`` is installed; nothing of it is imported."""
    return all(importlib.util.find_spec(one) is not None for one in ("torch", "sentence_transformers"))


def int8_suffices(name: str | Path) -> bool:
    """Whether a model has a graph of 8-bit weights whose measured loss is below the bound of ``auto``."""
    folder = resolve(name).folder / ONNX_FOLDER
    if not (folder / SIDECAR_FILE).is_file():
        return False
    graph = Sidecar.read(folder).graphs.get("int8")
    loss = graph.loss if graph is not None else None
    if loss is None:
        return False
    return min(loss.tokens, loss.mean_dense) >= INT8_COSINE


def _torch(name: str | Path, device: str | None) -> Encoder:
    from ernie_search.model import load  # seconds of imports: only those who need it wait

    found: Encoder = load(name, device=device)
    return found


def _faster(name: str | Path, place: Place, onnx: Encoder) -> Encoder:
    """The faster of the two for passages, as remembered or measured now."""
    key = _key(place, onnx)
    known = passage_speeds().get(key)
    if known is not None:
        return _torch(name, None) if known["torch"] > WORTH * known["onnx"] else onnx
    other = _torch(name, None)
    on_gpu = getattr(getattr(other, "device", None), "type", "cpu") != "cpu"
    if on_gpu:
        return other
    speeds = {"torch": _speed(other), "onnx": _speed(onnx)}
    _remember(key, speeds | {"model": place.name, "processor": processor_name()})
    return other if speeds["torch"] > WORTH * speeds["onnx"] else onnx


def _speed(encoder: Encoder, clock: Callable[[], float] = time.perf_counter) -> float:
    """Passages a second: the better of two rounds, after one that is not timed."""
    encoder.encode_joint(SAMPLE[:2], "passage")
    best = 0.0
    for _ in range(2):
        started = clock()
        encoder.encode_joint(SAMPLE, "passage")
        best = max(best, len(SAMPLE) / max(clock() - started, 1e-9))
    return round(best, 2)


def passage_speeds() -> dict[str, dict[str, Any]]:
    """What was measured for this user on this machine: passages a second in ``torch`` and ``onnx``, by key.

    The key is made of processor, cores, versions and the model's shape; ``model`` and ``processor`` are said
    in words.
    """
    try:
        found = read_json(cache_folder() / SPEEDS_FILE)
    except (StorageError, OSError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        key: one
        for key, one in found.items()
        if isinstance(one, dict) and all(isinstance(one.get(what), int | float) for what in ("torch", "onnx"))
    }


def _remember(key: str, speeds: dict[str, Any]) -> None:
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        write_json(cache_folder() / SPEEDS_FILE, passage_speeds() | {key: speeds})
    except (StorageError, OSError):  # then it is measured again next time
        return


def _key(place: Place, encoder: Encoder) -> str:
    """Equal where a measurement holds: the same machine, versions and shape of the model."""
    weights = sum(one.stat().st_size for one in sorted(place.folder.rglob("*.safetensors"))) >> 20
    shape = [encoder.kind, encoder.token_dim, weights]
    return fingerprint(processor_name(), cores(), _versions(), shape, _may_have_gpu())


def _may_have_gpu() -> list[str]:
    """What is seen of a GPU without importing torch: a speed measured without one says nothing with one."""
    return [os.environ.get("CUDA_VISIBLE_DEVICES", "any"), *(one for one in GPU_FILES if Path(one).exists())]


def _versions() -> list[str]:
    found = []
    for name in ("torch", "sentence-transformers", "onnxruntime"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(name)
    return found
