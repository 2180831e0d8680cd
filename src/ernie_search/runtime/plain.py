"""What a sentence-transformers directory says of itself: modules, prompts, lengths, similarity."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ernie_search._util.files import fingerprint, read_json, sha256_file
from ernie_search.encoder import EncoderKind
from ernie_search.errors import ModelError, StorageError
from ernie_search.runtime.cache import known, known_sha256
from ernie_search.runtime.saved_files import one_line
from ernie_search.runtime.weights import read_tensors

LONGEST = 512
"""Tokens kept of a text at most, whatever a model could read: a token matrix has a row for each."""
MODULES_FILE = "modules.json"
ST_CONFIG = "config_sentence_transformers.json"
OF_TRANSFORMER = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlm_roberta_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_mpnet_config.json",
)
OLD_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""In the order in which sentence-transformers concatenates them."""
MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
ACTIVATIONS = {"Identity", "Tanh", "ReLU", "Sigmoid"}
VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model")
ACTING = ("added_tokens", "normalizer", "pre_tokenizer", "model", "post_processor")
"""Of ``tokenizer.json``: what decides a text's tokens. Its truncation and padding are of the last call."""
LOWERING = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
Similarity = Literal["cosine", "dot"]


@dataclass(frozen=True, slots=True)
class PlainSettings:
    """How a plain encoder reads: its own prompts, lengths and similarity.

    Attributes:
        lower: whether sentence-transformers lowers the case before its tokenizer.
    """

    similarity: Similarity = "cosine"
    query_prompt: str = ""
    passage_prompt: str = ""
    query_length: int = LONGEST
    passage_length: int = LONGEST
    lower: bool = False


def read_settings(folder: Path) -> PlainSettings:
    """The settings of a sentence-transformers directory, or of a bare Hugging Face model.

    Lengths are the model's own, at most :data:`LONGEST`.

    Raises:
        ModelError: a file cannot be read, or the similarity is neither cosine nor the dot product.
    """
    inner = transformer_folder(folder)
    config, saved = _json(inner / "config.json"), _json(folder / ST_CONFIG)
    own = next((_json(inner / name) for name in OF_TRANSFORMER if (inner / name).is_file()), {})
    words = _json(inner / "tokenizer_config.json")
    similarity = saved.get("similarity_fn_name") or "cosine"
    if similarity not in ("cosine", "dot"):
        raise ModelError(f"{folder}: its similarity is {similarity}; choose a model with cosine or dot")
    prompts = {str(name): str(text or "") for name, text in (saved.get("prompts") or {}).items()}
    default = str(saved.get("default_prompt_name") or "")

    def prompt(*names: str) -> str:
        return next((prompts[one] for one in (*names, default) if one in prompts), "")

    limits = [LONGEST, own.get("max_seq_length"), _positions(config)]
    if own.get("max_seq_length") is None:
        limits.append(words.get("model_max_length"))
    longest = int(min(one for one in limits if isinstance(one, (int, float)) and one > 0))
    return PlainSettings(
        "dot" if similarity == "dot" else "cosine",
        prompt("query"),
        prompt("document", "passage", "corpus"),
        min(longest, int(own.get("query_length") or longest)),
        min(longest, int(own.get("document_length") or longest)),
        bool(own.get("do_lower_case")),
    )


def _positions(config: dict[str, Any]) -> int | None:
    """Tokens that there are positions for; None where there is no such limit."""
    limit = config.get("max_position_embeddings") or config.get("n_positions")
    if not isinstance(limit, int) or limit <= 0:
        return None
    if config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        # Counted from behind the padding's place.
        return limit - (int(config.get("pad_token_id") or 0) + 1)
    return limit


@dataclass(frozen=True, slots=True)
class DenseLayer:
    """A Dense module: ``activation(x W^T + b)``, plus x where it has a residual connection."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    activation: str
    residual: bool = False

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(B, in) -> (B, out)``."""
        found = rows @ self.weight.T
        if self.bias is not None:
            found = found + self.bias
        if self.activation == "Tanh":
            found = np.tanh(found)
        elif self.activation == "ReLU":
            found = np.maximum(found, 0)
        elif self.activation == "Sigmoid":
            found = 1 / (1 + np.exp(-found))
        return np.asarray(found + rows if self.residual else found, np.float32)


@dataclass(frozen=True, slots=True)
class Pooled:
    """From token states to the single vector.

    Attributes:
        modes: each gives a vector; they are concatenated.
        include_prompt: whether the prompt's tokens take part.
        layers: what follows, in order; None normalises.
        weights: ``(V,)``, what each entry of the vocabulary counts (``WordWeights``); None: all alike.
    """

    modes: tuple[str, ...] = ("mean",)
    include_prompt: bool = True
    layers: tuple[DenseLayer | None, ...] = ()
    weights: NDArray[np.float32] | None = None

    def dim(self, hidden: int) -> int:
        """``D`` for states of width ``hidden``."""
        widths = [len(layer.weight) for layer in self.layers if layer is not None]
        return widths[-1] if widths else hidden * len(self.modes)

    def __call__(
        self,
        states: NDArray[np.float32],
        mask: NDArray[np.int64],
        prompt_length: int | None,
        ids: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Single vectors ``(B, D)`` of states ``(B, L, hidden)``; ``mask`` is 1 where a text is."""
        total = None
        if self.weights is not None:
            weighed = self.weights[ids] * mask
            states, total = states * weighed[:, :, None], weighed.sum(axis=1, keepdims=True)
        if not self.include_prompt and prompt_length:
            mask = mask * (mask.cumsum(axis=1) > prompt_length)
        rows = np.concatenate([_pool(states, mask, mode, total) for mode in self.modes], axis=1)
        for layer in self.layers:
            rows = normalised(rows) if layer is None else layer(rows)
        return rows


def _pool(
    states: NDArray[np.float32], mask: NDArray[np.int64], mode: str, total: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    places, count = np.arange(len(states)), mask.sum(axis=1, keepdims=True)
    if mode == "cls":
        return np.asarray(states[places, mask.argmax(axis=1)])
    if mode == "lasttoken":
        return np.asarray(states[places, mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)])
    if mode == "max":
        return np.asarray(np.where(mask[:, :, None] > 0, states, -1e9).max(axis=1), np.float32)
    weights = mask.astype(np.float32)
    if mode == "weightedmean":
        weights = weights * np.arange(1, mask.shape[1] + 1, dtype=np.float32)
        divisor = weights.sum(axis=1, keepdims=True) if total is None else total
    else:
        # sentence-transformers divides by the weights of all tokens, those of the prompt included.
        sizes = count if total is None else total
        divisor = sizes if mode == "mean" else np.sqrt(sizes)
    summed = np.matmul(weights[:, None, :], states)[:, 0]
    return np.asarray(summed / np.maximum(divisor, 1e-9), np.float32)


def normalised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length one; a row of zeros stays."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), np.float32)


def read_modules(folder: Path) -> Pooled | None:
    """Pooling and what follows, from ``modules.json``; a bare model is pooled by the mean of its tokens.

    Returns:
        None where a module is of a kind that only torch can run.

    Raises:
        ModelError: a file cannot be read, or a module's is missing.
    """
    if not (folder / MODULES_FILE).is_file():
        return Pooled()
    found: Pooled | None = None
    weights: NDArray[np.float32] | None = None
    layers: list[DenseLayer | None] = []
    for place, module in enumerate(_modules(folder)):
        kind, path = str(module["type"]).rsplit(".", 1)[-1], folder / str(module["path"])
        if not str(module["type"]).startswith("sentence_transformers."):
            return None
        config = _json(path / "config.json") if place else {}
        if place == 0:
            if kind != "Transformer":
                return None
        elif kind == "WordWeights" and found is None:
            weights = _word_weights(path, config)
        elif kind == "Pooling" and found is None:
            modes = _modes(config)
            if not modes:
                return None
            found = Pooled(modes, bool(config.get("include_prompt", True)))
        elif kind == "Normalize" and found is not None:
            layers.append(None)
        elif kind == "Dense" and found is not None:
            layer = _dense(path, config)
            if layer is None:
                return None
            layers.append(layer)
        elif kind != "Dropout":
            return None
    return None if found is None else Pooled(found.modes, found.include_prompt, tuple(layers), weights)


def _word_weights(path: Path, config: dict[str, Any]) -> NDArray[np.float32]:
    """``(V,)`` weights as sentence-transformers reads them: by name, else by the name in lower case."""
    with one_line(f"{path / 'config.json'}: no weights of words", "copy or download the model again"):
        given, usual = dict(config["word_weights"]), float(config.get("unknown_word_weight", 1))
        return np.asarray(
            [given.get(word, given.get(word.lower(), usual)) for word in config["vocab"]], np.float32
        )


def _modes(config: dict[str, Any]) -> tuple[str, ...]:
    given = config.get("pooling_mode")
    if given is None:
        return tuple(mode for key, mode in OLD_MODES.items() if config.get(key))
    given = (given,) if isinstance(given, str) else tuple(given)
    return given if all(one in MODES for one in given) else ()


def _dense(path: Path, config: dict[str, Any]) -> DenseLayer | None:
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rsplit(".", 1)[-1]
    names = [config.get("module_input_name"), config.get("module_output_name")]
    if activation not in ACTIVATIONS or any(one not in (None, "sentence_embedding") for one in names):
        return None
    file = path / "model.safetensors"
    if not file.is_file():
        if (path / "pytorch_model.bin").is_file():  # a pickle: torch reads it
            return None
        raise ModelError(f"{file}: missing; copy or download the model again")
    with one_line(f"{file}: cannot be read", "copy or download the model again"):
        tensors = read_tensors(file)
        if "residual.weight" in tensors:
            return None
        return DenseLayer(
            tensors["linear.weight"],
            tensors.get("linear.bias"),
            activation,
            bool(config.get("use_residual")),
        )


def transformer_folder(folder: Path) -> Path:
    """Where a model's Transformer is: older sentence-transformers put it into a folder ``0_Transformer``."""
    if (folder / MODULES_FILE).is_file():
        modules = _modules(folder)
        return folder / str(modules[0]["path"]) if modules else folder
    return folder


def _modules(folder: Path) -> list[dict[str, Any]]:
    path = folder / MODULES_FILE
    with one_line(f"{path}: no list of modules", "copy or download the model again"):
        found = sorted(json.loads(path.read_text(encoding="utf-8")), key=lambda one: int(one["idx"]))
        for one in found:
            if not isinstance(one["type"], str) or ".." in Path(one["path"]).parts:
                raise ValueError(f"a module at {one['path']}")
        return list(found)


def _json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no file.

    Raises:
        ModelError: it cannot be read as one.
    """
    if not path.is_file():
        return {}
    try:
        found = read_json(path)
    except StorageError as error:
        raise ModelError(f"{str(error).partition(';')[0]}; copy or download the model again") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path}: no JSON object; copy or download the model again")
    return found


def plain_fingerprint(folder: Path, settings: PlainSettings, *, kind: EncoderKind = "plain") -> str:
    """16 hex digits over what decides an encoder's vectors; the same from torch and from ONNX Runtime.

    Of a snapshot of the hub its commit stands for all files. Elsewhere: the bytes of the weights (of the
    graph, where there are none), the acting parts of the tokenizer, the configs of all modules. Digests are
    remembered between processes.

    Args:
        folder: a sentence-transformers or Hugging Face directory.
        settings: as :func:`read_settings` says, or others.
        kind: plain or late.
    """
    reading = [
        kind,
        settings.similarity,
        [settings.query_prompt, settings.passage_prompt],
        [settings.query_length, settings.passage_length],
        settings.lower,
    ]
    if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--"):
        return fingerprint("hub", folder.name, reading)
    inner = transformer_folder(folder)
    places = {inner: "0"}
    modules: Any = None
    if (folder / MODULES_FILE).is_file():
        found = _modules(folder)
        modules = [str(one["type"]).rsplit(".", 1)[-1] for one in found]
        places |= {folder / str(one["path"]): str(place) for place, one in enumerate(found) if place}
    weights, configs = [], []
    for path, name in places.items():
        files = sorted(path.glob("*.safetensors")) or sorted(path.glob("pytorch_model*.bin"))
        weights += [[name, known_sha256(one)] for one in files]
        if path != inner:
            configs.append([name, _json(path / "config.json")])
    if not any(name == "0" for name, _ in weights):
        graphs = [one for one in (folder / "onnx" / "model.onnx", folder / "model.onnx") if one.is_file()]
        weights += [["onnx", known_sha256(one)] for one in graphs[:1]]
    return fingerprint(weights, modules, configs, _tokenizer_digest(inner), reading)


def _tokenizer_digest(folder: Path) -> list[Any]:
    """Digests of what decides a text's tokens."""
    words = _json(folder / "tokenizer_config.json")
    found: list[Any] = [[name, words.get(name)] for name in LOWERING]
    if (folder / "tokenizer.json").is_file():
        return [*found, known(folder / "tokenizer.json", "tokenizer", _acting_digest)]
    return [*found, *(known_sha256(folder / one) for one in VOCABULARIES if (folder / one).is_file())]


def _acting_digest(path: Path) -> str:
    state = _json(path)
    text = json.dumps([state.get(part) for part in ACTING], sort_keys=True)
    return fingerprint(text) if state else sha256_file(path)
