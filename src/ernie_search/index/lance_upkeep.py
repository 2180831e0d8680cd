"""Changing and looking after a LanceDB table: merge, index, remove what nobody needs.

A kill between any two steps leaves a commit that can be opened.
"""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ernie_search.index import lance_files as on_disk
from ernie_search.index.lance_reader import SMALLEST_TRAINED, lance_errors, vector_index

if TYPE_CHECKING:
    from ernie_search.index.lance import LanceStore

NEVER = timedelta(days=36_500)
"""LanceDB prunes by age whenever it optimizes; the version that a commit names may be of any age."""
COMMITS_HELD = 32
"""A writer opens its table anew after so many commits: LanceDB keeps something of every version, 80 kB
of the smallest, up to gigabytes."""
MARGIN_S = 1.0
"""A clock read just before a version is written may disagree with the file system's by less than this."""
MERGES = 8
"""So often files are merged at most before old ones are removed; the second time mostly finds nothing."""


class Change:
    """A change of a store's table: errors become one line, and what was read before is forgotten."""

    def __init__(self, store: "LanceStore") -> None:
        """Around the next statement."""
        self._store = store
        self._before = (store.table.version, store.written_at)
        self._errors = lance_errors(store.folder)

    def __enter__(self) -> None:
        """Note the time, for pruning by age."""
        self._store.written_at = time.time() - MARGIN_S
        self._errors.__enter__()

    def __exit__(self, *exception: Any) -> None:
        """Begin to read anew. What made no version does not make the last one look younger than it is."""
        store, (version, written_at) = self._store, self._before
        if exception[0] is None:
            store.reread()
            if store.table.version == version:
                store.written_at = written_at
        else:
            store.forget()
            store.written_at = written_at
        self._errors.__exit__(*exception)


def steps(store: "LanceStore") -> Iterator[None]:
    """All of it; between two steps the store may be read and written, and everything done is committed."""
    store.commit()
    yield
    merge(store)
    store.commit()
    yield
    index_vectors(store)
    store.commit()
    yield
    store.make_commit(pruning=True)
    remove_unneeded(store)


def merge(store: "LanceStore") -> bool:
    """Merge small files and bring the indexes up to date, removing nothing; True where there was work."""
    before = store.table.version
    with Change(store):
        store.table.optimize(cleanup_older_than=NEVER)
    return bool(store.table.version != before)


def index_vectors(store: "LanceStore") -> None:
    """Build the approximate index that the spec asks for, where it is missing and worth its while."""
    if store.spec.ann == "none" or "dense" in store.reader.indexes:
        return
    if len(store) >= max(store.spec.exact_below, SMALLEST_TRAINED):
        with Change(store):
            store.table.create_index("dense", config=vector_index(store.spec, len(store)))


def remove_unneeded(store: "LanceStore") -> None:
    """Remove the files that neither this commit nor a reader needs, and commit what is left.

    LanceDB cleans up only while it merges, and a merge that still finds work makes a new version and
    removes the one that the commit names; a kill before the next commit would then leave none to open.
    So there must be nothing left to merge, and that must be committed, before anything is removed.
    """
    for _ in range(MERGES):
        if not merge(store):
            break
    else:  # never at rest: old files cost disk alone
        store.make_commit(pruning=False)
        return
    if store.table.version != store.commit_read.version:
        store.make_commit(pruning=True)
    held = on_disk.held_since(store.folder, store.commit_read)
    age = timedelta(milliseconds=1) if held is None else timedelta(seconds=time.time() - held + MARGIN_S)
    time.sleep(0.002)  # so that even a version written just now is older than that
    with Change(store):
        store.table.optimize(cleanup_older_than=age, delete_unverified=True)
    store.make_commit(pruning=False)
    on_disk.held_since(store.folder, store.commit_read)
