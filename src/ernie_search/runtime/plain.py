"""What identifies a model that this package did not make, with and without torch."""

from pathlib import Path

from ernie_search._util.files import fingerprint, remembered_sha256

WEIGHTS = ("*.safetensors", "*.bin")
READING = (
    "tokenizer.json",
    "vocab.txt",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "*/config.json",
    "artifact.metadata",
)
"""Files that say how a text is read and pooled."""


def plain_fingerprint(folder: Path) -> str:
    """16 hex digits over a model's weights and what says how they are used."""
    weights = next((found for one in WEIGHTS if (found := sorted(folder.rglob(one)))), [])
    files = [*weights, *(path for one in READING for path in sorted(folder.glob(one)))]
    named = {
        path.relative_to(folder).as_posix(): remembered_sha256(path)
        for path in files
        if path.relative_to(folder).parts[0] != "onnx"
    }
    return fingerprint("plain", named)
