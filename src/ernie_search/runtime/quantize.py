"""Graphs of 8-bit weights: dynamic, per channel; and what they lose, measured on texts."""

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.files import fingerprint, write_json
from ernie_search.encoder import Encoding
from ernie_search.errors import ModelError, StorageError
from ernie_search.runtime.cache import cache_folder, graphs_folder, made_once, note_use
from ernie_search.runtime.saved_files import one_line
from ernie_search.runtime.sidecar import INT8_FILE, Loss
from ernie_search.types import Task

VERSION = 1
LOSS_FILE = "loss.json"
SAMPLE = (
    "Tea",
    "Where does tea grow?",
    "The Nile is 6,650 km long; the Amazon 6,400.",
    "How do I rotate the logs of a service that is written to all day, without losing a line?",
    "¿Qué es un río? Ein Fluss ist ein natürliches Gewässer, das zum Meer fließt.",
    "def rotate(path: Path, keep: int = 7) -> None: ...  # renames path to path.1, path.1 to path.2",
    "A river is long, and a tea garden needs rain: the hills of Assam have both. " * 6,
)
"""What the loss is measured on: short and long texts, languages, and code."""


class Reads(Protocol):
    """An encoder, as far as the measurement uses it."""

    def encode_joint(self, texts: tuple[str, ...], task: Task) -> Encoding:
        """See :class:`ernie_search.encoder.Encoder`."""


def quantized(source: Path, target: Path | None = None) -> Path:
    """Write a graph with 8-bit weights, a scale for each column; activations are quantised as they come.

    Args:
        source: an fp32 graph.
        target: the file to write; by default ``model_int8.onnx`` beside it.

    Returns:
        ``target``.

    Raises:
        ModelError: the package ``onnx`` is missing, or the graph cannot be quantised.
    """
    target = target or source.with_name(INT8_FILE)
    try:
        import onnx
    except ImportError as error:
        raise ModelError(f"{source}: 8-bit weights need a package: pip install onnx") from error
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with one_line(f"{source}: cannot be quantised"), _quiet():
        quantize_dynamic(
            source,
            target,
            per_channel=True,
            weight_type=QuantType.QInt8,
            # What stands behind Microsoft's operators, whose types onnx does not infer.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
    return target


def cached_int8(source: Path) -> Path:
    """The 8-bit graph of an fp32 one, from the user's cache or made now.

    Raises:
        ModelError: it cannot be made, or the cache cannot be written.
    """
    now = source.stat()
    key = fingerprint(VERSION, str(source.resolve()), now.st_size, now.st_mtime_ns)
    place = cache_folder() / "graphs" / f"{key}-int8"
    if not (place / INT8_FILE).is_file():
        try:
            graphs_folder()
            with made_once(place, INT8_FILE) as folder:
                quantized(source, folder / INT8_FILE)
        except (StorageError, OSError) as error:
            raise ModelError(f"{place}: 8-bit weights cannot be kept there; set XDG_CACHE_HOME") from error
    note_use(place)
    return place / INT8_FILE


def measured_loss(full: Reads, small: Reads, texts: tuple[str, ...] = SAMPLE) -> Loss:
    """How near an 8-bit encoder's vectors are to those of the same model in fp32: cosines."""
    dense: list[NDArray[np.float32]] = []
    tokens: list[NDArray[np.float32]] = []
    for task in ("query", "passage"):
        one, other = full.encode_joint(texts, task), small.encode_joint(texts, task)
        dense.append(_cosines(one.dense, other.dense))
        tokens += [_cosines(rows, also) for rows, also in zip(one.tokens, other.tokens, strict=True)]
    single, rows = np.concatenate(dense), np.concatenate(tokens)
    return Loss(
        texts=len(texts),
        dense=round(float(single.mean()), 5),
        dense_least=round(float(single.min()), 5),
        tokens=round(float(rows.mean()), 5),
        tokens_least=round(float(rows.min()), 5),
    )


def remembered_loss(graph: Path, full: Reads, small: Reads) -> Loss:
    """:func:`measured_loss` of a cached graph, measured once and kept beside it."""
    path = graph.with_name(LOSS_FILE)
    with contextlib.suppress(OSError, ValueError):  # missing, or of other figures
        return Loss.model_validate_json(path.read_text(encoding="utf-8"))
    found = measured_loss(full, small)
    with contextlib.suppress(StorageError, OSError):
        write_json(path, found.model_dump())
    return found


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of rows; 1 for two rows of zeros."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray(np.where(lengths > 0, (one * other).sum(axis=1) / np.maximum(lengths, 1e-12), 1.0))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without ONNX Runtime's advice to pre-process graphs, which are optimised already."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
