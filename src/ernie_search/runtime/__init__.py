"""Models without torch: where they are, what they are made of, and encoding through ONNX Runtime."""

from ernie_search.runtime.places import BUNDLED, bundled_base, resolve_base
from ernie_search.runtime.settings import SETTINGS_FILE, ScoreSettings

__all__ = [
    "BUNDLED",
    "SETTINGS_FILE",
    "ScoreSettings",
    "bundled_base",
    "resolve_base",
]
