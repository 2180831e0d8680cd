"""Models without torch: where they are, what they are made of, and encoding through ONNX Runtime."""

from ernie_search.runtime.batches import Encoded
from ernie_search.runtime.onnx_encoder import OnnxEncoder
from ernie_search.runtime.opening import open_onnx, require_onnx
from ernie_search.runtime.places import BUNDLED, Place, bundled_base, default_model, resolve, resolve_base
from ernie_search.runtime.plain import PlainSettings, plain_fingerprint, read_settings
from ernie_search.runtime.settings import SETTINGS_FILE, ScoreSettings
from ernie_search.runtime.sidecar import ONNX_FOLDER, SIDECAR_FILE, Sidecar

__all__ = [
    "BUNDLED",
    "ONNX_FOLDER",
    "SETTINGS_FILE",
    "SIDECAR_FILE",
    "Encoded",
    "OnnxEncoder",
    "Place",
    "PlainSettings",
    "ScoreSettings",
    "Sidecar",
    "bundled_base",
    "default_model",
    "open_onnx",
    "plain_fingerprint",
    "read_settings",
    "require_onnx",
    "resolve",
    "resolve_base",
]
