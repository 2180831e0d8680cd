"""From a name to an encoder in torch: a joint model of ours, any dense one, any late-interaction one."""

import json
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer

from ernie_search.encoder import EncoderKind
from ernie_search.errors import ModelError
from ernie_search.model.joint import HEAD_FILE, JointEncoder, load_joint
from ernie_search.model.late import LateEncoder
from ernie_search.model.plain import PlainEncoder
from ernie_search.runtime.places import resolve
from ernie_search.runtime.saved_files import check_saved_files, one_line
from ernie_search.runtime.settings import SETTINGS_FILE

ST_CONFIG = "config_sentence_transformers.json"
LATE_TYPES = ("MultiVectorEncoder", "ColBERT")
"""What sentence-transformers and PyLate call their late-interaction models."""
LATE_KEYS = ("query_prefix", "document_prefix", "do_query_expansion")
"""What only PyLate's settings have; its early versions name no type."""

AnyEncoder = JointEncoder | PlainEncoder | LateEncoder


def load(name: str | Path, *, device: str | None = None) -> AnyEncoder:
    """Load a model as an encoder, in eval mode, by what it is.

    Args:
        name: a directory, a hub name (``org/name``, with ``@revision`` to pin one), or the bundled base's.
            What is in the hub's cache needs no network.
        device: where it computes; by default a GPU where there is one.

    Returns:
        A JointEncoder for a model that ``train`` made, a LateEncoder for a MultiVectorEncoder or a ColBERT
        checkpoint (PyLate's, Stanford's), a PlainEncoder for every other model of sentence-transformers.

    Raises:
        ModelError: there is no such model, it cannot be had now, is damaged, or gives no vectors.
    """
    folder = resolve(name, weights=True).folder
    kind = kind_of(folder, str(name))
    if kind == "joint":
        return load_joint(folder, device=device)
    check_saved_files(folder)
    options: dict[str, Any] = {
        "device": device,
        "local_files_only": True,
        "model_kwargs": {"dtype": torch.float32},
    }
    with one_line(f"{name}: cannot be loaded", "choose another model"):
        if kind == "late":
            return LateEncoder(MultiVectorEncoder(str(folder), **options), str(name), folder)
        return PlainEncoder(SentenceTransformer(str(folder), **options), str(name), folder)


def kind_of(folder: Path, name: str) -> EncoderKind:
    """What kind of encoder a model's directory holds, from its small files.

    Raises:
        ModelError: none.
    """
    if any((folder / one).is_file() for one in (SETTINGS_FILE, HEAD_FILE)):
        return "joint"
    for inside in ("best", "last", "model"):
        if (folder / inside / SETTINGS_FILE).is_file():
            raise ModelError(f"{name}: a training folder; its model is {folder / inside}")
    saved, config = _object(folder / ST_CONFIG), _object(folder / "config.json")
    types = config.get("architectures") or []
    if saved.get("model_type") in LATE_TYPES or any(key in saved for key in LATE_KEYS):
        return "late"
    if "HF_ColBERT" in types:
        return "late"
    if (folder / "modules.json").is_file():
        kind = saved.get("model_type", "SentenceTransformer")
        if kind != "SentenceTransformer":
            raise ModelError(f"{name}: a {kind}, which gives no vectors to search by; choose another model")
        return "plain"
    if not config:
        raise ModelError(f"{name}: no model here (no config.json); choose a model's directory")
    if any(str(one).endswith("ForSequenceClassification") for one in types):
        raise ModelError(
            f"{name}: a classifier or cross-encoder, which gives no vectors; it can re-rank: --cross"
        )
    return "plain"


def _object(path: Path) -> dict[str, Any]:
    """A JSON file's object; empty where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read ({error}); copy or save the model again") from error
    return found if isinstance(found, dict) else {}
