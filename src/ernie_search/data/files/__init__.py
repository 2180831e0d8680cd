"""Folders of documents: which files they are, how each kind is read, and how it is cut into passages."""

from ernie_search.data.files.collection import FilesCollection, open_files, say_skipped
from ernie_search.data.files.reading import Read, is_document
from ernie_search.data.files.snapshot import FilesSnapshot
from ernie_search.data.files.state import State, keep_only, read_state
from ernie_search.data.files.walk import Found, Skipped

__all__ = [
    "FilesCollection",
    "FilesSnapshot",
    "Found",
    "Read",
    "Skipped",
    "State",
    "is_document",
    "keep_only",
    "open_files",
    "read_state",
    "say_skipped",
]
