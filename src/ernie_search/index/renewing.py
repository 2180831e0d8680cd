"""A store on disk that is open for long: whether its files are still there, and its newest commit."""

import os

from ernie_search._util.files import storage_errors
from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index.lance import LanceStore
from ernie_search.index.store import Store


def check_files(index: object) -> None:
    """Refuse to go on where files of an open store are missing, cut or overwritten, at a ``stat`` each.

    What is not a store on disk has no files to lose, and passes.

    Raises:
        IndexStateError: naming the first such file.
        StorageError: the folder may not be read any more.
    """
    if not isinstance(index, LanceStore):
        return
    commit = index.commit_read
    with storage_errors(index.folder):
        for name, (size, _) in commit.files.items():
            try:
                found = os.stat(index.folder / name).st_size
            except (FileNotFoundError, NotADirectoryError):
                if commit.pruning:  # some may go, see ``Commit``
                    continue
                raise IndexStateError(f"{index.folder / name}: this file is missing") from None
            if found != size:
                raise IndexStateError(f"{index.folder / name}: holds {found} bytes, {size} were written")
    index.count()  # compares times and inodes, too


def reopened(store: Store, *, trust: bool = True) -> Store:
    """Another opening of ``store`` for reading, at its newest commit; ``store`` stays as it is.

    Files never change once a commit names them, so only those that ``store`` did not have are compared with
    their SHA-256: the price of a commit, not of the whole store.

    Args:
        store: open, at any commit.
        trust: take the files that ``store`` has for sound; without it all are compared.

    Raises:
        IndexStateError: a new file is damaged, or the store is gone.
        SettingsError: the store is not one on disk.
    """
    if not isinstance(store, LanceStore):
        raise SettingsError("only a store on disk is opened again at its newest commit")
    return LanceStore.open(store.folder, known=store.commit_read.files if trust else None)
