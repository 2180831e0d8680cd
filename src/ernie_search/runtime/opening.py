"""Opening a model for ONNX Runtime: exported by us, by others, or built from its weights."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ernie_search.errors import ModelError
from ernie_search.runtime.bert import built_graph
from ernie_search.runtime.onnx_encoder import OnnxEncoder, Outputs, Scoring, Sessions, outputs_of
from ernie_search.runtime.places import GRAPHS, Place, resolve
from ernie_search.runtime.plain import (
    PlainSettings,
    Pooled,
    plain_fingerprint,
    read_modules,
    read_settings,
    transformer_folder,
)
from ernie_search.runtime.quantize import cached_int8
from ernie_search.runtime.saved_files import check_saved_files
from ernie_search.runtime.settings import SETTINGS_FILE
from ernie_search.runtime.sidecar import ONNX_FOLDER, SIDECAR_FILE, Precision, Sidecar
from ernie_search.runtime.tokenizer import Words, open_words

INT8_GRAPHS = ("onnx/model_int8.onnx", "model_int8.onnx")
NO_ENCODERS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering")
WIDTHS = ("hidden_size", "dim", "d_model", "n_embd")
COLBERT = "artifact.metadata"


def open_onnx(
    place: Place | str | Path, *, precision: Precision = "fp32", check: bool = False
) -> OnnxEncoder | None:
    """Open a model without torch.

    What ``export`` wrote comes first (``onnx/ernie_search_onnx.json``), then a graph of others
    (``onnx/model.onnx`` or ``model.onnx``) with the modules of sentence-transformers; without any graph, one
    is built from the weights of a BERT-like model.

    Args:
        place: where it is; a name or directory is resolved.
        precision: int8 takes an exported graph of 8-bit weights; where others have published none, it is
            made of theirs, once, and kept in the user's cache.
        check: also compare the SHA-256 of an exported graph, not only its size.

    Returns:
        None where there is nothing that ONNX Runtime can run: torch may.

    Raises:
        ModelError: the files are damaged or incomplete, or are of no text encoder.
    """
    if not isinstance(place, Place):
        place = resolve(place)
    if (place.folder / ONNX_FOLDER / SIDECAR_FILE).is_file():
        return _exported(place, precision, check)
    if (place.folder / SETTINGS_FILE).is_file():
        return None  # a joint model of an earlier release, whose head only torch reads
    return _plain(place, precision)


def require_onnx(place: Place, *, precision: Precision = "fp32") -> OnnxEncoder:
    """As :func:`open_onnx`, for an installation without torch.

    Raises:
        ModelError: also where only torch can run it; says what to install.
    """
    found = open_onnx(place, precision=precision)
    if found is None:
        raise ModelError(
            f"{place.name}: only torch can read this model (no ONNX graph for it here); install it with: "
            "pip install 'ernie-search[train]'; or write its graph where torch is (ernie-search export "
            "--onnx), or choose a model with onnx/model.onnx"
        )
    return found


def _exported(place: Place, precision: Precision, check: bool) -> OnnxEncoder:
    folder = place.folder / ONNX_FOLDER
    sidecar = Sidecar.read(folder)
    graph = sidecar.checked(folder, precision, check=check)
    check_saved_files(place.folder, weights=False)
    sidecar.check_weights(place.folder)
    # A late-interaction model's marker tokens are words of the tokenizer beside its graph alone.
    beside = (folder / "tokenizer.json").is_file()
    words = open_words(folder if beside else transformer_folder(place.folder))
    if words is None:
        raise ModelError(f"{place.folder}: no tokenizer.json here; save or export the model again")
    return OnnxEncoder(
        sidecar.kind,
        sidecar.name or place.name,
        sidecar.fingerprint,
        sidecar.dim,
        sidecar.token_dim,
        PlainSettings(
            sidecar.similarity,
            sidecar.query_prompt,
            sidecar.passage_prompt,
            sidecar.query_length,
            sidecar.passage_length,
        ),
        Words(words.tokenizer, tuple(sidecar.special_ids), sidecar.pad_id),
        Sessions(graph),
        Outputs(dense=None if sidecar.kind == "late" else "dense"),
        precision,
        Scoring(sidecar.skip_ids, sidecar.keep_prompt, sidecar.expansion),
    )


def _plain(place: Place, precision: Precision) -> OnnxEncoder | None:
    """A model of others: graph or weights, pooled as its modules say."""
    inner = transformer_folder(place.folder)
    config = _config(inner, place)
    pooled = read_modules(place.folder)
    words = open_words(inner)
    if pooled is None or words is None or (place.folder / COLBERT).is_file():
        return None
    graph = _file(place.folder, INT8_GRAPHS) if precision == "int8" else None
    own = graph is None and (found := _file(place.folder, GRAPHS)) is None
    if graph is None:
        graph = built_graph(inner, config) if own else found
        if graph is None:
            return None
        if precision == "int8":
            graph = cached_int8(graph)
    sessions = Sessions(graph, optimised=own)
    outputs: Outputs | None = Outputs(None, "last_hidden_state", pooled=pooled)
    if not own:
        outputs = outputs_of(sessions.of(1), pooled)
    if outputs is None:
        return None
    return _encoder(place, config, pooled, words, sessions, outputs, precision)


def _file(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of these files that is there."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _encoder(
    place: Place,
    config: dict[str, Any],
    pooled: Pooled,
    words: Words,
    sessions: Sessions,
    outputs: Outputs,
    precision: Precision,
) -> OnnxEncoder | None:
    hidden = next((config[one] for one in WIDTHS if isinstance(config.get(one), int)), None)
    if hidden is None:
        return None
    settings = read_settings(place.folder)
    return OnnxEncoder(
        "plain",
        place.name,
        plain_fingerprint(place.folder, settings),
        pooled.dim(hidden),
        hidden,
        settings,
        words,
        sessions,
        outputs,
        precision,
    )


def _config(folder: Path, place: Place) -> dict[str, Any]:
    """``config.json`` of a text encoder.

    Raises:
        ModelError: it is missing, cannot be read, or says that this is none.
    """
    path = folder / "config.json"
    advice = "name the directory of a model, a hub name, or leave --model out"
    if not path.is_file():
        for inside in ("best", "last"):
            if (place.folder / inside / "modules.json").is_file():
                raise ModelError(f"{place.folder}: a training folder; its model is {place.folder / inside}")
        raise ModelError(f"{place.folder}: no model here (config.json is missing); {advice}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        architectures = [str(one) for one in config.get("architectures") or []]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read; copy or download the model again") from error
    wrong = next((one for one in architectures if one.endswith(NO_ENCODERS)), None)
    if wrong is not None and not (place.folder / "modules.json").is_file():
        raise ModelError(
            f"{place.name}: a {wrong}, which scores or labels texts and gives no vectors; {advice}"
        )
    return dict(config)
