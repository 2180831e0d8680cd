"""Export of an encoder as one ONNX graph with both readings, checked against torch."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ernie_search._util.files import atomic_directory, remove, sha256_file
from ernie_search.encoder import EncoderKind
from ernie_search.errors import ModelError
from ernie_search.model.encode import TextReader, tokenize
from ernie_search.model.tokenizer import forget_last_call
from ernie_search.runtime.quantize import quantized
from ernie_search.runtime.saved_files import list_also, one_line
from ernie_search.runtime.sidecar import (
    GRAPH_FILE,
    INT8_FILE,
    ONNX_FOLDER,
    SIDECAR_FILE,
    Graph,
    Loss,
    Sidecar,
)
from ernie_search.types import Task

LOGGER = logging.getLogger(__name__)

OPSET = 18
ONE_FILE = 2_000_000_000
"""Bytes up to which weights lie in the graph's own file; protobuf ends at 2 GiB."""
LEAST_COSINE = 0.9999
"""Of every vector of the graph to torch's, below which an export is refused."""
TOOLS = ("onnx", "onnxscript", "onnxruntime")
SAMPLE = (
    "Tea",
    "Where does tea grow?",
    "The Nile is 6,650 km long; the Amazon 6,400.",
    "How do I rotate the logs of a service that is written to all day, without losing a line?",
    "水は H2O です。お茶はどこで育ちますか?",
    "¿Qué es un río? Ein Fluss ist ein natürliches Gewässer, das zum Meer fließt.",
    "Чай растёт в горах, где идут дожди.",
    "def rotate(path: Path, keep: int = 7) -> None: ...  # renames path to path.1, path.1 to path.2",
    "A river is long, and a tea garden needs rain: the hills of Assam have both. " * 6,
    "...",
)
"""What the check and the measurement of int8 read: short and long texts, in several scripts, and code."""


class Exportable(TextReader, Protocol):
    """A TextReader that says what its graph's reader has to know: all encoders of this room."""

    @property
    def kind(self) -> EncoderKind:
        """See :mod:`ernie_search.encoder`."""

    @property
    def fingerprint(self) -> str:
        """Of what the vectors depend on."""

    @property
    def token_dim(self) -> int:
        """``d``."""

    def modules(self) -> Iterator[nn.Module]:
        """All modules inside."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """All weights."""

    def buffers(self) -> Iterator[Tensor]:
        """All constants."""

    def sidecar(self) -> dict[str, Any]:
        """Of the sidecar what depends on the kind: similarity, prompts, lengths, special ids."""


def export_onnx(model: Exportable, output_dir: Path, *, int8: bool = False) -> Path:
    """Write ``onnx/`` into a model's directory: one graph that gives both readings, and its sidecar.

    The graph reads ``input_ids`` and ``attention_mask``, int64 ``(B, L)``, and gives ``dense``
    ``(B, D)`` (not for a late-interaction model, whose single vector is made of its tokens) and ``tokens``
    ``(B, L, d)``, in fp32 whatever the weights are stored in. ONNX Runtime must give torch's vectors, or
    nothing is written. An earlier ``onnx/`` there is replaced.

    Args:
        model: an encoder of this package; left as it was.
        output_dir: the model's directory, or any folder; the tokenizer is written where it has none.
        int8: also write a graph of 8-bit weights (dynamic, per channel); its loss is in the sidecar.

    Returns:
        The folder ``onnx``.

    Raises:
        ModelError: the model cannot be exported, its graph gives other vectors, or a package is missing.
        StorageError: the disk is full or not writable.
    """
    _check_tools(model.name)
    place = output_dir / ONNX_FOLDER
    with atomic_directory(place) as folder, _in_fp32(model):
        batches = _batches(model)
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")
            _write_graph(model, folder / GRAPH_FILE)
        with _named(model, "run"):
            loss = _loss(folder / GRAPH_FILE, batches)
        least = min(loss.tokens_least, 1.0 if loss.dense_least is None else loss.dense_least)
        if not least >= LEAST_COSINE:  # so that NaN fails, too
            raise ModelError(
                f"{model.name}: its ONNX graph gives other vectors than torch (cosine {least:.4f}), so none "
                "is written; search with torch"
            )
        cosines = {"cosine_dense": loss.dense_least, "cosine_tokens": loss.tokens_least}
        graphs = {"fp32": _graph(folder / GRAPH_FILE, **cosines)}
        if int8:
            with _named(model, "made of 8 bits"):
                quantized(folder / GRAPH_FILE, folder / INT8_FILE)
                eight = _loss(folder / INT8_FILE, batches)
            graphs["int8"] = _graph(folder / INT8_FILE, loss=eight)
        about = {
            "kind": model.kind,
            "name": model.name,
            "fingerprint": model.fingerprint,
            "dim": model.get_embedding_dimension(),
            "token_dim": model.token_dim,
            "pad_id": model.tokenizer.pad_token_id or 0,
        }
        if model.kind == "late":  # its marker tokens are known to the tokenizer in memory alone
            forget_last_call(model.tokenizer)
            model.tokenizer.save_pretrained(str(folder))
        about |= model.sidecar() | {"graphs": graphs, "weights": _weights(output_dir)}
        Sidecar.model_validate(about).write(folder)
    if model.kind != "late" and not (output_dir / "tokenizer.json").exists():
        forget_last_call(model.tokenizer)
        model.tokenizer.save_pretrained(str(output_dir))
    list_also(output_dir, ONNX_FOLDER)
    return place


def _weights(folder: Path) -> dict[str, str]:
    """SHA-256 of the weights in a model's directory, by file."""
    found = (one for ending in ("safetensors", "bin") for one in sorted(folder.rglob(f"*.{ending}")))
    return {
        one.relative_to(folder).as_posix(): sha256_file(one)
        for one in found
        if ONNX_FOLDER not in one.relative_to(folder).parts[:-1]
    }


def add_onnx(model: Exportable, folder: Path) -> str:
    """``export_onnx`` for a training's end: a model that has no graph is a model, too.

    Returns:
        Why there is no graph; "" where there is one.
    """
    try:
        export_onnx(model, folder)
    except (ModelError, MemoryError) as error:
        why = str(error) or "not enough memory"
        LOGGER.warning("%s: no ONNX graph beside the weights: %s", folder, why)
        return why
    return ""


def drop_int8(place: Path) -> None:
    """Remove the graph of 8 bits from a folder of graphs, and from its sidecar and the model's manifest."""
    sidecar = Sidecar.read(place)
    graphs = {name: graph for name, graph in sidecar.graphs.items() if name != "int8"}
    sidecar.model_copy(update={"graphs": graphs}).write(place)
    (place / INT8_FILE).unlink(missing_ok=True)
    list_also(place.parent, place.name)


def discard_onnx(folder: Path) -> None:
    """Remove the graphs that an export wrote into a model's directory, whose weights are to be others."""
    if (folder / ONNX_FOLDER / SIDECAR_FILE).exists():
        remove(folder / ONNX_FOLDER)


def _check_tools(name: str) -> None:
    for tool in TOOLS:
        try:
            __import__(tool)
        except ImportError as error:
            raise ModelError(
                f"{name}: no ONNX graph without the package {tool}; run: pip install {' '.join(TOOLS)}"
            ) from error


class _Graph(nn.Module):
    """An encoder as a function of two tensors."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        output = self.model.read({"input_ids": input_ids, "attention_mask": attention_mask})
        return (output.tokens,) if self.model.kind == "late" else (output.cls, output.tokens)


def _write_graph(model: Exportable, path: Path) -> None:
    """Trace the model with torch's exporter, and save the graph without this machine's paths."""
    ids = torch.full((2, 7), int(model.tokenizer.pad_token_id or 0), dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    axes = {0: "batch", 1: "length"}
    try:
        with torch.no_grad(), _plain_attention(model):
            program: Any = torch.onnx.export(
                _Graph(model).eval(),
                (),
                kwargs={"input_ids": ids, "attention_mask": mask},
                dynamo=True,
                dynamic_shapes={"input_ids": axes, "attention_mask": axes},
                output_names=["tokens"] if model.kind == "late" else ["dense", "tokens"],
                opset_version=OPSET,
                optimize=True,
                verbose=False,
            )
    except Exception as error:  # torch.export and the exporter raise all kinds, with pages of advice
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise ModelError(
            f"{model.name}: cannot be exported to ONNX ({type(error).__name__}: {reason[:160]}); "
            "search with torch"
        ) from error
    graph = program.model
    for part in (graph, graph.graph, *graph.graph, *graph.graph.initializers.values()):
        part.metadata_props.clear()
        part.doc_string = None
    for node in graph.graph:
        for value in node.outputs:
            value.metadata_props.clear()
    weights = sum(one.numel() for one in model.parameters()) * 4
    with _named(model, "saved"):
        program.save(str(path), external_data=weights > ONE_FILE)


def _named(model: Exportable, what: str) -> AbstractContextManager[None]:
    """One line for what onnx and ONNX Runtime raise, of kinds of their own; a full disk's error stays one."""
    return one_line(f"{model.name}: its ONNX graph cannot be {what}", "search with torch", leave=(OSError,))


@contextlib.contextmanager
def _in_fp32(model: Exportable) -> Iterator[None]:
    """The model's weights as fp32 on the processor, in eval mode with tokens; afterwards as they were."""
    tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
    kept = [one.data for one in tensors]
    was_training, had_tokens = model.training, model.attach_tokens
    try:
        for one in tensors:
            kind = torch.float32 if one.is_floating_point() else one.dtype
            one.data = one.data.to("cpu", kind)
        model.train(False)
        model.attach_tokens = True
        yield
    finally:
        for one, data in zip(tensors, kept, strict=True):
            one.data = data
        model.train(was_training)
        model.attach_tokens = had_tokens


@contextlib.contextmanager
def _plain_attention(model: Exportable) -> Iterator[None]:
    """Attention written out as products and a softmax, which every exporter knows."""
    before: list[tuple[Any, str]] = []
    try:
        for module in model.modules():
            one: Any = module
            if hasattr(one, "set_attn_implementation") and hasattr(one, "config"):
                before.append((one, one.config._attn_implementation))
                one.set_attn_implementation("eager")
        yield
    finally:
        for one, name in before:
            one.set_attn_implementation(name)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's log without its warnings, which are about operators that no encoder uses."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch of the sample and what torch says of it.

    Attributes:
        inputs: of the graph.
        dense: ``(B, D)``.
        tokens: ``(T, d)``: the token vectors that count, one text's below the other's.
        mask: ``(B, L)``: which ones do.
    """

    inputs: dict[str, NDArray[np.int64]]
    dense: NDArray[np.float32]
    tokens: NDArray[np.float32]
    mask: NDArray[np.bool_]


def _batches(model: Exportable) -> list[_Batch]:
    """The sample, batched as ``encode_texts`` does: texts alone, and several, padded."""
    found = []
    tasks: tuple[Task, Task] = ("query", "passage")
    for task in tasks:
        read = tokenize(model, SAMPLE, task)
        for batch in ([read.ids[0]], [read.ids[1]], [read.ids[-2]], read.ids[:3], read.ids):
            features = model.batch_of(batch, task, read.prompt_length)
            with torch.no_grad():
                output = model.read(dict(features))
            tokens, mask = output.late()
            ids = features["input_ids"]
            attention = features.get("attention_mask", torch.ones_like(ids))
            inputs = {"input_ids": ids.numpy(), "attention_mask": attention.numpy()}
            found.append(_Batch(inputs, output.cls.numpy(), tokens[mask].numpy(), mask.numpy()))
    return found


def _loss(path: Path, batches: Sequence[_Batch]) -> Loss:
    """Mean and least cosine of a graph's vectors to torch's, on both readings."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    dense, tokens = [], []
    for batch in batches:
        found = dict(zip(names, session.run(None, batch.inputs), strict=True))
        if "dense" in found:
            dense.append(_cosines(found["dense"], batch.dense))
        tokens.append(_cosines(found["tokens"][batch.mask], batch.tokens))
    rows, single = np.concatenate(tokens), np.concatenate(dense) if dense else None
    return Loss(
        texts=len(SAMPLE),
        tokens=float(rows.mean()),
        tokens_least=float(rows.min()),
        dense=None if single is None else float(single.mean()),
        dense_least=None if single is None else float(single.min()),
    )


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosine of each row to the other's."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    found: NDArray[np.float64] = (a * b).sum(axis=1) / np.maximum(lengths, 1e-30)
    return found


def _graph(path: Path, **more: Any) -> Graph:
    """A graph's entry in the sidecar, with the file of its weights where they are apart."""
    data = path.with_name(f"{path.name}.data")
    return Graph.of(path, data=Graph.of(data) if data.exists() else None, **more)
