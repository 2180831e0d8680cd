"""Folders of documents: which files they are, how each kind is read, and how it is cut into passages."""

from ernie_search.data.files.collection import FilesCollection, open_files, say_skipped
from ernie_search.data.files.reading import Read, is_document
from ernie_search.data.files.walk import Found, Skipped

__all__ = ["FilesCollection", "Found", "Read", "Skipped", "is_document", "open_files", "say_skipped"]
