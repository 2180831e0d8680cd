"""Weights of safetensors files as numpy arrays."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ernie_search.errors import ModelError

TYPES = {"F32": np.float32, "F16": np.float16, "F64": np.float64}


def read_tensors(path: Path) -> Mapping[str, NDArray[np.float32]]:
    """Every floating-point tensor of a file, in fp32, whatever it is stored in; others are left out.

    The format is a length, a JSON header and the bytes; numpy's reader in the library ``safetensors`` knows
    no bf16, so the bytes are read here.

    Raises:
        ModelError: no safetensors file, or a cut one.
    """
    size = path.stat().st_size
    with open(path, "rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if not 2 <= length <= size - 8:
            raise ModelError(f"{path}: not a safetensors file, or a cut one; copy or download it again")
        try:
            header = json.loads(handle.read(length))
        except ValueError as error:
            raise ModelError(f"{path}: not a safetensors file; copy or download it again") from error
    found: dict[str, NDArray[np.float32]] = {}
    if size == 8 + length:
        return found
    data = np.memmap(path, np.uint8, "r", offset=8 + length)
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, stop = entry["data_offsets"]
        if not 0 <= start <= stop <= len(data):
            raise ModelError(f"{path}: cut off in {name}; copy or download it again")
        raw = data[start:stop]
        if entry["dtype"] == "BF16":
            values = (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        elif entry["dtype"] in TYPES:
            values = raw.view(TYPES[entry["dtype"]]).astype(np.float32, copy=False)
        else:
            continue
        found[name] = values.reshape(entry["shape"])
    return found


def read_all(folder: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors of all safetensors files of a folder; one model in several files has an index beside them.

    Raises:
        ModelError: none there, or one that cannot be read.
    """
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise ModelError(f"{index}: no list of weights; copy or download it again") from error
    found: dict[str, NDArray[np.float32]] = {}
    for name in names:
        path = folder / Path(name).name
        if not path.is_file():
            raise ModelError(f"{path}: missing; copy or download the model again")
        found.update(read_tensors(path))
    return found
