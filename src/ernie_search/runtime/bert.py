"""An ONNX graph for encoders of BERT's kind, from their config and weights: no torch, no exporter.

It is made once, with ONNX Runtime's own fused operators (com.microsoft: Attention, SkipLayerNormalization,
BiasGelu, exact ones all), and kept in the user's cache, so that opening it needs no optimisation.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.files import fingerprint
from ernie_search.errors import ModelError, StorageError
from ernie_search.runtime.cache import cache_folder, graphs_folder, made_once, note_use
from ernie_search.runtime.saved_files import one_line
from ernie_search.runtime.weights import read_all

if TYPE_CHECKING:
    import onnx

VERSION = 2
"""Of the graphs that are built; another one makes the cached ones unused."""
GRAPH, WEIGHTS = "model.onnx", "model.bin"
OPSET, IR = 17, 8
ALIGNED = 4096
"""Bytes to whose multiples a weight is moved, so that it can be mapped from the file."""
MICROSOFT = "com.microsoft"
ROBERTA = ("roberta", "xlm-roberta", "camembert")
BERT = ("bert", "ernie", *ROBERTA)
DISTILBERT, MPNET = "distilbert", "mpnet"
QKV = ("query", "key", "value")
EXACT_GELU, TANH_GELU = ("gelu",), ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
Array = NDArray[np.float32]


def built_graph(folder: Path, config: Mapping[str, Any]) -> Path | None:
    """The graph of a model directory, from the cache or built now; its output is ``last_hidden_state``.

    Args:
        folder: with ``model.safetensors`` (or several files and their index).
        config: its ``config.json``.

    Returns:
        None where the model is of another kind, or has no safetensors.

    Raises:
        ModelError: the weights are damaged, or do not fit the config.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files or not is_supported(config):
        return None
    states = [[str(one.resolve()), one.stat().st_size, one.stat().st_mtime_ns] for one in files]
    place = cache_folder() / "graphs" / fingerprint(VERSION, states, dict(config))
    if (place / GRAPH).is_file() and (place / WEIGHTS).is_file():
        note_use(place)
        return place / GRAPH
    try:
        graphs_folder()
        with made_once(place, GRAPH, WEIGHTS) as written:
            build(folder, config, written)
        return place / GRAPH
    except (StorageError, OSError):  # no room or no permission there: for this process alone
        return build(folder, config, Path(_temporary()))


def is_supported(config: Mapping[str, Any]) -> bool:
    """Whether :func:`build` knows a model of this config."""
    kind = config.get("model_type")
    activation = config.get("activation" if kind == DISTILBERT else "hidden_act", "gelu")
    return (
        kind in (*BERT, DISTILBERT, MPNET)
        and activation in (*EXACT_GELU, *TANH_GELU, "relu")
        and config.get("position_embedding_type", "absolute") == "absolute"
        and not config.get("is_decoder")
        and not config.get("add_cross_attention")
        and not config.get("use_task_id")
    )


def build(folder: Path, config: Mapping[str, Any], output: Path) -> Path:
    """Write ``model.onnx`` and ``model.bin`` into ``output``; see :func:`built_graph`."""
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise ModelError(f"{folder}: has no ONNX graph, and building one needs: pip install onnx") from error
    with one_line(f"{folder}: its weights do not fit its config", "copy or download the model again"):
        names = _plain_names(read_all(folder))
        with open(output / WEIGHTS, "wb") as data:
            writer = _Writer(data)
            make = {DISTILBERT: _distilbert, MPNET: _mpnet}.get(str(config["model_type"]), _bert)
            layout = make(config, names)
            writer.write(layout, output / GRAPH)
    return output / GRAPH


class _Layout:
    """A model in one vocabulary: sizes, and weights by our names."""

    def __init__(self, heads: int, epsilon: float, activation: str, weights: dict[str, Array]) -> None:
        self.heads, self.epsilon, self.activation, self.weights = heads, epsilon, activation, weights
        self.layers: list[dict[str, Array]] = []
        self.positions_after: int | None = None
        self.by_distance: Array | None = None


def _plain_names(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Without the prefix of the class, and with today's names of LayerNorm's weights."""
    word = next((one for one in tensors if one.endswith("embeddings.word_embeddings.weight")), "")
    prefix = word.removesuffix("embeddings.word_embeddings.weight")
    return {
        name.removeprefix(prefix)
        .replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias"): values
        for name, values in tensors.items()
    }


def _layer(names: Mapping[str, Array], at: str, parts: Mapping[str, str]) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for ours, theirs in parts.items():
        found[f"{ours}.w"], found[f"{ours}.b"] = names[f"{at}{theirs}.weight"], names[f"{at}{theirs}.bias"]
    found["qkv.w"] = np.concatenate([found.pop(f"{one}.w").T for one in "qkv"], axis=1)
    found["qkv.b"] = np.concatenate([found.pop(f"{one}.b") for one in "qkv"])
    for one in ("out", "up", "down"):
        found[f"{one}.w"] = found[f"{one}.w"].T
    return found


def _bert(config: Mapping[str, Any], names: Mapping[str, Array]) -> _Layout:
    positions = names["embeddings.position_embeddings.weight"]
    types = names.get("embeddings.token_type_embeddings.weight")
    layout = _Layout(
        int(config["num_attention_heads"]),
        float(config.get("layer_norm_eps", 1e-12)),
        str(config.get("hidden_act", "gelu")),
        {
            "words": names["embeddings.word_embeddings.weight"],
            # Every token is of the first segment, so its vector can be added to the positions'.
            "positions": positions if types is None else positions + types[0],
            "norm.w": names["embeddings.LayerNorm.weight"],
            "norm.b": names["embeddings.LayerNorm.bias"],
        },
    )
    parts = {
        "q": "attention.self.query",
        "k": "attention.self.key",
        "v": "attention.self.value",
        "out": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm2": "output.LayerNorm",
    }
    count = range(int(config["num_hidden_layers"]))
    layout.layers = [_layer(names, f"encoder.layer.{number}.", parts) for number in count]
    if config["model_type"] in ROBERTA:
        layout.positions_after = int(config.get("pad_token_id", 1))
    return layout


def _mpnet(config: Mapping[str, Any], names: Mapping[str, Array]) -> _Layout:
    """MPNet: BERT with other names, RoBERTa's positions, and a bias of attention for each distance."""
    theirs = {f"attention.attn.{one}": f"attention.self.{long}" for one, long in zip("qkv", QKV, strict=True)}
    theirs |= {
        "attention.attn.o": "attention.output.dense",
        "attention.LayerNorm": "attention.output.LayerNorm",
    }
    renamed = dict(names)
    for name, values in names.items():
        for old, new in theirs.items():
            if f".{old}." in name:
                renamed[name.replace(f".{old}.", f".{new}.")] = values
    layout = _bert(config, renamed)
    layout.positions_after = 1
    table = names["encoder.relative_attention_bias.weight"]
    count = len(layout.weights["positions"])
    layout.by_distance = table[_buckets(np.arange(1 - count, count), len(table))]
    return layout


def _buckets(distance: NDArray[np.int64], count: int, most: int = 128) -> NDArray[np.int64]:
    """The bucket of each distance from a token to another, as T5 (Raffel et al. 2020) numbers them: half for
    each direction, in it half for near distances one by one, the others wider and wider up to ``most``."""
    half = count // 2
    exact = half // 2
    far = np.abs(distance)
    ratio = np.log(np.maximum(far, 1).astype(np.float32) / exact) / np.float32(np.log(most / exact))
    wide = np.minimum(exact + (ratio * (half - exact)).astype(np.int64), half - 1)
    return np.asarray(np.where(far < exact, far, wide) + half * (distance > 0))


def _distilbert(config: Mapping[str, Any], names: Mapping[str, Array]) -> _Layout:
    layout = _Layout(
        int(config["n_heads"]),
        1e-12,
        str(config.get("activation", "gelu")),
        {
            "words": names["embeddings.word_embeddings.weight"],
            "positions": names["embeddings.position_embeddings.weight"],
            "norm.w": names["embeddings.LayerNorm.weight"],
            "norm.b": names["embeddings.LayerNorm.bias"],
        },
    )
    parts = {
        "q": "attention.q_lin",
        "k": "attention.k_lin",
        "v": "attention.v_lin",
        "out": "attention.out_lin",
        "norm1": "sa_layer_norm",
        "up": "ffn.lin1",
        "down": "ffn.lin2",
        "norm2": "output_layer_norm",
    }
    count = range(int(config["n_layers"]))
    layout.layers = [_layer(names, f"transformer.layer.{number}.", parts) for number in count]
    return layout


class _Writer:
    """Nodes of a graph, and its weights, which go straight into the data file."""

    def __init__(self, data: IO[bytes]) -> None:
        self.data = data
        self.nodes: list[Any] = []
        self.weights: list[onnx.TensorProto] = []
        self.bias: list[str] = []

    def node(self, kind: str, inputs: list[str], name: str, domain: str = "", **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [name], name, domain=domain, **attributes))
        return name

    def weight(self, name: str, values: Array) -> str:
        """Write a weight at the file's end."""
        from onnx import TensorProto

        self.data.write(b"\0" * (-self.data.tell() % ALIGNED))
        values = np.ascontiguousarray(values, np.float32)
        tensor = TensorProto(
            name=name, data_type=TensorProto.FLOAT, dims=values.shape, data_location=TensorProto.EXTERNAL
        )
        place = {"location": WEIGHTS, "offset": self.data.tell(), "length": values.nbytes}
        for key, value in place.items():
            tensor.external_data.add(key=key, value=str(value))
        self.data.write(values.tobytes())
        self.weights.append(tensor)
        return name

    def constant(self, name: str, values: list[int] | int) -> str:
        from onnx import numpy_helper

        self.weights.append(numpy_helper.from_array(np.asarray(values, np.int64), name))
        return name

    def write(self, layout: _Layout, path: Path) -> None:
        """Write the whole graph of ``layout``."""
        from onnx import TensorProto, helper

        state = self._embedded(layout)
        self.node("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
        if layout.by_distance is not None:
            self._distances(layout.by_distance)
        for number, layer in enumerate(layout.layers):
            last = number == len(layout.layers) - 1
            state = self._layer(layout, layer, f"layer{number}", state, last)
        batch: list[Any] = ["batch", "length"]
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.INT64, batch)
            for name in ("input_ids", "attention_mask")
        ]
        hidden = layout.weights["words"].shape[1]
        output = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*batch, hidden])
        graph = helper.make_graph(self.nodes, "encoder", inputs, [output], self.weights)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR, producer_name="ernie-search")
        path.write_bytes(model.SerializeToString())

    def _distances(self, table: Array) -> None:
        """What is added to attention by distance: ``(1, heads, L, L)`` of ``(2 P - 1, heads)``."""
        self.weight("by_distance", table)
        self.constant("centre", [len(table) // 2])
        self.constant("first", [0])
        self.constant("second", [1])
        self.constant("from", 0)
        self.constant("step", 1)
        self.node("Shape", ["input_ids"], "lengths", start=1, end=2)
        self.node("Squeeze", ["lengths", "first"], "end")
        self.node("Range", ["from", "end", "step"], "numbered")
        self.node("Unsqueeze", ["numbered", "first"], "to_row")
        self.node("Unsqueeze", ["numbered", "second"], "from_column")
        self.node("Sub", ["to_row", "from_column"], "distances")
        self.node("Add", ["distances", "centre"], "entries")
        self.node("Gather", ["by_distance", "entries"], "bias_rows")
        self.node("Transpose", ["bias_rows"], "bias_heads", perm=[2, 0, 1])
        self.node("Unsqueeze", ["bias_heads", "first"], "attention_bias")
        self.bias = ["", "attention_bias"]  # between them stands the past, of decoders

    def _embedded(self, layout: _Layout) -> str:
        """Words and positions, normalised; the name of the result."""
        for name, values in layout.weights.items():
            self.weight(name, values)
        self.node("Gather", ["words", "input_ids"], "word_rows")
        if layout.positions_after is None:
            self.node("Shape", ["input_ids"], "length", start=1, end=2)
            self.constant("zero", [0])
            self.node("Slice", ["positions", "zero", "length", "zero"], "position_rows")
        else:
            # As RoBERTa: from behind the padding's number, padding itself at that number.
            self.constant("pad", [layout.positions_after])
            self.constant("one", [1])
            self.node("Equal", ["input_ids", "pad"], "is_pad")
            self.node("Not", ["is_pad"], "is_text")
            self.node("Cast", ["is_text"], "text", to=7)
            self.node("CumSum", ["text", "one"], "counted")
            self.node("Mul", ["counted", "text"], "places")
            self.node("Add", ["places", "pad"], "numbers")
            self.node("Gather", ["positions", "numbers"], "position_rows")
        self.node("Add", ["word_rows", "position_rows"], "embedded")
        return self.node(
            "LayerNormalization", ["embedded", "norm.w", "norm.b"], "state", epsilon=layout.epsilon, axis=-1
        )

    def _layer(self, layout: _Layout, layer: dict[str, Array], at: str, state: str, last: bool) -> str:
        """Attention and feed-forward, each with its residual connection; the name of the result."""
        own = {name: self.weight(f"{at}.{name}", values) for name, values in layer.items()}
        norm: dict[str, Any] = {"domain": MICROSOFT, "epsilon": layout.epsilon}
        self.node(
            "Attention",
            [state, own["qkv.w"], own["qkv.b"], "mask", *self.bias],
            f"{at}.attention",
            MICROSOFT,
            num_heads=layout.heads,
        )
        self.node("MatMul", [f"{at}.attention", own["out.w"]], f"{at}.mixed")
        inputs = [f"{at}.mixed", state, own["norm1.w"], own["norm1.b"], own["out.b"]]
        self.node("SkipLayerNormalization", inputs, f"{at}.attended", **norm)
        self.node("MatMul", [f"{at}.attended", own["up.w"]], f"{at}.wide")
        if layout.activation == "relu":
            self.node("Add", [f"{at}.wide", own["up.b"]], f"{at}.biased")
            self.node("Relu", [f"{at}.biased"], f"{at}.active")
        else:
            kind = "BiasGelu" if layout.activation in EXACT_GELU else "FastGelu"
            self.node(kind, [f"{at}.wide", own["up.b"]], f"{at}.active", MICROSOFT)
        self.node("MatMul", [f"{at}.active", own["down.w"]], f"{at}.narrow")
        inputs = [f"{at}.narrow", f"{at}.attended", own["norm2.w"], own["norm2.b"], own["down.b"]]
        return self.node("SkipLayerNormalization", inputs, "last_hidden_state" if last else at, **norm)


_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []
"""Removed when the process ends."""


def _temporary() -> str:
    _FOLDERS.append(tempfile.TemporaryDirectory(prefix="ernie-search-", ignore_cleanup_errors=True))
    return _FOLDERS[-1].name
