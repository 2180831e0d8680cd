"""One way to open any store: by its address."""

from pathlib import Path
from urllib.parse import urlsplit

from ernie_search._util.files import did_you_mean, seen_from
from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index.codecs import TokenCodec, codec
from ernie_search.index.lance_files import is_store
from ernie_search.index.memory_store import MemoryStore
from ernie_search.index.spec import IndexSpec, check_same_spec
from ernie_search.index.store import Store, StoreMode

SCHEMES = ("lance", "memory", "qdrant+http", "qdrant+https")


def open_index(
    url: str | Path,
    spec: IndexSpec | None = None,
    mode: StoreMode = "r",
    *,
    trained: TokenCodec | None = None,
    check: bool = True,
) -> Store:
    """Open a store, or make one.

    Args:
        url: a folder or ``lance:///folder``; ``memory://``; ``qdrant+http://host:6333/collection``.
        spec: what a new store holds; given, a store that is there already is refused unless it is the same.
        mode: "r", or "w" to change it.
        trained: a new store's token codec, where it had to be trained ("2bit").
        check: compare every file's SHA-256 before anything is answered.

    Raises:
        SettingsError: an unknown address, or a new store without a spec or for reading.
        IndexStateError: no store there, a damaged one, one of another model, or another writer is at work.
    """
    text = str(url)
    scheme = text.partition("://")[0] if "://" in text else "lance"
    if scheme not in SCHEMES:
        raise SettingsError(f"{text}: unknown kind of index {scheme!r}{did_you_mean(scheme, SCHEMES)}")
    if scheme == "memory":
        if spec is None:
            raise SettingsError("memory://: nothing is there yet; say what it holds (spec)")
        return MemoryStore(
            spec, trained or (codec(spec.tokens, spec.token_dim) if spec.with_tokens else None)
        )
    if scheme.startswith("qdrant"):
        from ernie_search.index.qdrant import QdrantStore

        return QdrantStore.open(text.removeprefix("qdrant+"), spec, mode, trained=trained)
    from ernie_search.index.lance import LanceStore

    folder = lance_folder(text)
    if spec is None or is_store(folder):
        store = LanceStore.open(folder, mode, check=check)
        if spec is not None:
            try:
                check_same_spec(str(folder), spec, store.spec)
            except IndexStateError:
                store.close()
                raise
        return store
    if mode == "r":
        raise SettingsError(f'{folder}: no store there; open it with mode "w" to make one')
    return LanceStore.create(folder, spec, trained)


def lance_folder(url: str) -> Path:
    """The folder of a ``lance://`` address, or of a plain path."""
    return Path(url if "://" not in url else urlsplit(url).netloc + urlsplit(url).path)


def recorded_model(store: Store, url: str | Path) -> Path | None:
    """The directory of the model that made the store at ``url``, as noted in it; None if it is not there."""
    folder = seen_from(lance_folder(str(url)), store.spec.model_path)
    return folder if store.spec.model_path and folder.is_dir() else None
