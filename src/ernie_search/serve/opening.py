"""From what the command line names to a searcher: a folder of shards, a store's address, a pointer file."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ernie_search._util.files import MANIFEST, seen_from
from ernie_search.encoder import Encoder
from ernie_search.errors import ErnieSearchError, IndexStateError, SettingsError
from ernie_search.index import Index, Store, open_index, reopened
from ernie_search.index.lance_files import STORE
from ernie_search.search import Mode, Searcher, open_cross_encoder


def usable_modes(searcher: Searcher) -> list[str]:
    """The modes that this index, model and installation can answer, best known first."""
    index = searcher.index
    capabilities: frozenset[str] = getattr(index, "capabilities", frozenset())
    needs = {
        "dense": True,
        "late": index.has_tokens,
        "hybrid": "bm25" in capabilities,
        "cross": searcher.cross is not None,
    }
    return [mode for mode in get_args(Mode) if needs.get(mode, False)]


POINTER_BYTES = 4096
"""A pointer file is one line; anything longer is no pointer."""


def resolve(index: str) -> str:
    """What a pointer file points to, or ``index`` itself; relative paths are the pointer's folder's.

    Raises:
        IndexStateError: a file that is no pointer.
    """
    path = Path(index)
    if "://" in index or not path.is_file():
        return index
    try:
        text = path.read_text(encoding="utf-8") if path.stat().st_size <= POINTER_BYTES else ""
    except (OSError, UnicodeDecodeError):
        text = ""
    target = text.strip().split("\n")[0].strip()
    if not target:
        raise IndexStateError(f"{index}: a file, but no pointer: its first line should name an index")
    return target if "://" in target else str(path.parent / target)


@dataclass(frozen=True, slots=True)
class Seen:
    """What tells one version of an index from the next: two small files, as they were.

    Attributes:
        pointer: the pointer file's bytes, where there is one.
        content: the bytes of the file that a store or a folder of shards replaces last.
    """

    pointer: bytes
    content: bytes


def look_at(index: str, *, writable: bool) -> Seen | None:
    """How ``index`` looks now; None for what has no such files, or while they cannot be read.

    A writer is alone with its store, so only the pointer can bring it something new.
    """
    try:
        path = Path(index)
        pointer = path.read_bytes() if "://" not in index and path.is_file() else b""
        target = resolve(index)
        if "://" in target and not target.startswith("lance://"):
            return Seen(pointer, b"") if pointer else None
        folder = Path(target.removeprefix("lance://"))
        small = next((folder / name for name in (STORE, MANIFEST) if (folder / name).is_file()), None)
        content = small.read_bytes() if small is not None and not writable else b""
    except (OSError, ErnieSearchError):
        return None
    return Seen(pointer, content) if pointer or content else None


def open_searcher(
    index: str, model: Path | None = None, *, cross: str | None = None, writable: bool = False
) -> Searcher:
    """Open an index, and load its model.

    Args:
        index: a folder of shards or of a store, or a store's address; see ``resolve`` for pointers.
        model: the model's directory, if it was moved.
        cross: the cross-encoder of mode ``cross``.
        writable: open it for upserts.

    Raises:
        SettingsError: ``writable``, but it cannot be written.
        IndexStateError: the index is missing, damaged, or of another model.
        ModelError: a model cannot be loaded.
    """
    target = resolve(index)
    if not writable:
        return Searcher.open(target, model, cross=cross)
    if "://" not in target and (Path(target) / MANIFEST).is_file():
        raise SettingsError(
            f"--writable: {target} is a folder of shards, which are never changed; serve a store instead"
        )
    store = open_index(target, mode="w")
    try:
        scorer = open_cross_encoder(cross) if cross is not None else None
        return Searcher(_load(target, store, model), store, scorer)
    except BaseException:
        store.close()
        raise


def renewed(searcher: Searcher, *, trust: bool = True) -> Searcher:
    """The newest commit of a store on disk under the same model; what ``searcher`` has open stays so.

    Args:
        searcher: over an older commit.
        trust: see ``reopened``.

    Raises:
        IndexStateError: it is damaged, or of another model now.
        SettingsError: no store on disk.
    """
    index = searcher.index
    if not isinstance(index, Store) or searcher.cross is not None:
        raise SettingsError("nothing but a store on disk can be renewed alone")
    store = reopened(index, trust=trust)
    try:
        return Searcher(searcher.model, store)
    except BaseException:
        store.close()
        raise


def can_write(index: Index) -> bool:
    """Whether passages can be added to it and removed."""
    return isinstance(index, Store)


def _load(target: str, store: Store, model: Path | None) -> Encoder:
    from ernie_search.model import load  # torch: only those who need it wait for it

    if model is None:
        recorded = store.spec.model_path
        base = Path(target.partition("://")[2] if "://" in target else target)
        path = seen_from(base, recorded)
        if not recorded or not path.is_dir():
            raise IndexStateError(
                f"{target}: its model, {store.model_name} ({store.model_fingerprint}), is "
                f"{'no longer where it was' if recorded else 'not noted in it'}; "
                "name its directory with --model"
            )
        model = path
    return load(model)
