"""A sentence-transformers directory of a few thousand weights, written without torch or transformers.

What ``tiny_model.sentence_base`` writes with them, in the files alone: ONNX Runtime reads it in the core's
environment. ``tiny_model`` takes its words and sizes from here.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    "tea",
    "rice",
    "wheat",
    "water",
    "rain",
    "river",
    "long",
    "grow",
    "where",
    "the",
    "in",
    "is",
    "query",
    "水",
]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,?:"
VOCABULARY = [*SPECIAL, *WORDS, *LETTERS, *(f"##{letter}" for letter in LETTERS)]
HIDDEN = 32
POSITIONS = 64

TEXTS = [
    "where does tea grow?",
    "rice",
    "the river is long: " + "water of the river " * 4,
    "tea grows in the hills, where the rain is",
    "a ✪ that no vocabulary holds",  # [UNK]
    "水 in the rice",
    "wheat, wheat, wheat.",
]
"""Of different lengths, with an unknown sign, all shorter than 48 tokens."""

INNER = 48
HEADS = 4
SPREAD = 0.2
"""Of the weights: far from the usual 0.02, so that different texts get different vectors."""


def word_tokenizer() -> Tokenizer:
    """Word pieces: the words above, every other one letter by letter."""
    vocabulary = {word: place for place, word in enumerate(VOCABULARY)}
    made = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = BertNormalizer(lowercase=True)
    made.pre_tokenizer = BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    ends = [(one, vocabulary[one]) for one in ("[CLS]", "[SEP]")]
    made.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    made.add_special_tokens(SPECIAL)
    return made


def weights(layers: int, seed: int) -> dict[str, np.ndarray]:
    """Of a BERT, by the names that transformers gives them."""
    random = np.random.default_rng(seed)

    def drawn(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) * SPREAD).astype(np.float32)

    found = {
        "embeddings.word_embeddings.weight": drawn(len(VOCABULARY), HIDDEN),
        "embeddings.position_embeddings.weight": drawn(POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": drawn(2, HIDDEN),
    }

    def linear(name: str, rows: int, columns: int) -> None:
        found[f"{name}.weight"], found[f"{name}.bias"] = drawn(rows, columns), np.zeros(rows, np.float32)

    def norm(name: str) -> None:
        found[f"{name}.weight"] = np.ones(HIDDEN, np.float32)
        found[f"{name}.bias"] = np.zeros(HIDDEN, np.float32)

    norm("embeddings.LayerNorm")
    for number in range(layers):
        at = f"encoder.layer.{number}"
        for one in ("attention.self.query", "attention.self.key", "attention.self.value"):
            linear(f"{at}.{one}", HIDDEN, HIDDEN)
        linear(f"{at}.attention.output.dense", HIDDEN, HIDDEN)
        norm(f"{at}.attention.output.LayerNorm")
        linear(f"{at}.intermediate.dense", INNER, HIDDEN)
        linear(f"{at}.output.dense", HIDDEN, INNER)
        norm(f"{at}.output.LayerNorm")
    return found


def bare_files(folder: Path, layers: int = 2, seed: int = 0) -> Path:
    """Write a BERT as its authors publish it: no pooling, nothing of sentence-transformers.

    Args:
        folder: to make.
        layers: of the encoder.
        seed: of the weights.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True)
    save_file(weights(layers, seed), str(folder / "model.safetensors"), metadata={"format": "pt"})
    word_tokenizer().save(str(folder / "tokenizer.json"))
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": len(VOCABULARY),
        "hidden_size": HIDDEN,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
        "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
    of_tokenizer = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "model_max_length": POSITIONS,
        **{f"{one.lower()[1:-1]}_token": one for one in SPECIAL},
    }
    _write(folder, {"config.json": config, "tokenizer_config.json": of_tokenizer})
    return folder


def sentence_files(
    folder: Path, prompts: dict[str, str] | None = None, layers: int = 2, seed: int = 0
) -> Path:
    """Write a sentence-transformers directory: BERT, mean pooling, normalised, cosine.

    Args:
        folder: to make.
        prompts: ``query`` and ``passage``, as in ``config_sentence_transformers.json``.
        layers: of the encoder.
        seed: of the weights.

    Returns:
        The folder.
    """
    bare_files(folder, layers, seed)
    modules = ["Transformer", "Pooling", "Normalize"]
    paths = ["" if place == 0 else f"{place}_{name}" for place, name in enumerate(modules)]
    for path in paths:
        (folder / path).mkdir(exist_ok=True)
    files = {
        "sentence_bert_config.json": {"max_seq_length": POSITIONS, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": prompts or {}, "similarity_fn_name": "cosine"},
        "modules.json": [
            {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{name}"}
            for n, (name, path) in enumerate(zip(modules, paths, strict=True))
        ],
        "1_Pooling/config.json": {"embedding_dimension": HIDDEN, "pooling_mode": "mean"},
    }
    _write(folder, files)
    return folder


def _write(folder: Path, files: Mapping[str, object]) -> None:
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")
