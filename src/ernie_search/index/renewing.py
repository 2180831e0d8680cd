"""The newest commit of a store that is open for reading, without reading again what was checked before."""

from dataclasses import replace

from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index.lance import LanceStore
from ernie_search.index.lance_files import damaged_files
from ernie_search.index.store import Store


def reopened(store: Store) -> Store:
    """Another opening of ``store`` for reading, at its newest commit; ``store`` stays as it is.

    Files never change once a commit names them, so only those that ``store`` did not have are compared with
    their SHA-256: the price of a commit, not of the whole store.

    Raises:
        IndexStateError: a new file is damaged, or the store is gone.
        SettingsError: the store is not one on disk.
    """
    if not isinstance(store, LanceStore):
        raise SettingsError("only a store on disk is opened again at its newest commit")
    newer = LanceStore.open(store.folder, check=False)
    known = store.commit_read.files
    added = {name: entry for name, entry in newer.commit_read.files.items() if known.get(name) != entry}
    problems = damaged_files(newer.folder, replace(newer.commit_read, files=added))
    if problems:
        newer.close()
        raise IndexStateError(f"{problems[0]}; restore the store from a copy or build it again")
    return newer
