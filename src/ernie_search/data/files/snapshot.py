"""A folder of documents at one moment, read once: all of it, or what changed since it was last read."""

import json
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from typing import IO

from ernie_search._util.files import SETTLED
from ernie_search._util.lines import Placed, Report, stop
from ernie_search.data.collection import LocatedCollection
from ernie_search.data.files.collection import FilesCollection
from ernie_search.data.files.reading import READERS_VERSION, Read, has_reader
from ernie_search.data.files.state import FileState, State
from ernie_search.data.files.walk import Found, Skipped
from ernie_search.types import Judgement, Passage, Query


class FilesSnapshot(LocatedCollection):
    """The passages of the files that changed since a state, or of all, kept in a temporary file.

    They can be read as often as needed and stay the same, whatever happens to the files meanwhile.

    Attributes:
        state: what is known now.
        before: the state that this is a difference to; None where it is the whole folder.
        replaces: ids of the passages that its own take the place of: of files that changed or are gone; None
            for all.
        count: its passages.
        total: passages of the whole folder.
        changed, gone: how many files were read anew, and how many were there before and are not any more.
        skipped: files left out, and why; of one that cannot be read for a reason that may pass, what was read
            before stays.
        notes: by path, what the reading has to say.
    """

    def __init__(
        self,
        files: FilesCollection,
        before: State | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Look at every file, and read those that may have changed.

        Args:
            files: the folder.
            before: as it was; only for the same ``words``, and if the same readers read it.
            progress: called with the number of files looked at since its last call.

        Raises:
            DataError: the folder is gone, or there is nothing in it that can be read.
        """
        super().__init__(files.name, files.source)
        self._files, self._spool = files, _Spool()
        cut = (files.words, READERS_VERSION)
        self.before = before if before is not None and (before.words, before.readers) == cut else None
        self.skipped: list[Skipped] = []
        self.notes: dict[str, str] = {}
        self.replaces: list[str] | None = None if self.before is None else []
        self.changed = self.gone = 0
        self._scan({} if self.before is None else self.before.files, progress)

    def _scan(self, known: dict[str, FileState], progress: Callable[[int], None] | None) -> None:
        now = time.time_ns()
        settled = 0 if self.before is None else self.before.scanned_ns - int(SETTLED * 1e9)
        walked = self._files.walk()
        self.skipped += walked.skipped
        files: dict[str, FileState] = {}
        for found in walked.files:
            old = known.get(found.path)
            same = old is not None and (old.size, old.mtime_ns) == (found.size, found.mtime_ns)
            if old is not None and same and found.mtime_ns < settled and not _can_be_read_now(old, found):
                files[found.path] = old
            else:
                one = self._read(found, old)
                if one is not None:
                    files[found.path] = one
            if progress is not None:
                progress(1)
        unseen = [one.path.rstrip("/") for one in walked.skipped if one.passing]
        for path, old in known.items():
            if path not in files and any(one in (".", path) or path.startswith(f"{one}/") for one in unseen):
                files[path] = _as_before(old)
            elif path not in files:
                self.gone += bool(old.sha256)
                self._replace(path, old)
        for path, one in files.items():
            if one.note:
                self.notes[path] = one.note
            if one.skipped:
                self.skipped.append(Skipped(path, one.skipped, one.extra))
        self.skipped.sort(key=lambda one: one.path)
        contents = {path: one.sha256 for path, one in files.items() if one.sha256}
        if not contents:
            raise self._files.nothing_to_read(self.skipped)
        self.total = sum(len(one.passages) for one in files.values())
        self.files = len(contents)
        data = self._files.fingerprint_of(contents)
        self.state = State(data, self._files.words, now, READERS_VERSION, files=files)

    def _read(self, found: Found, old: FileState | None) -> FileState | None:
        """Read a file that may have changed; None for one that is gone."""
        read = self._files.read(found, known="" if old is None else old.sha256)
        if isinstance(read, Read):
            if old is not None and old.sha256 == read.sha256:
                return FileState(read.size, read.mtime_ns, old.sha256, old.passages, old.note)
            self._replace(found.path, old)
            self.changed += 1
            for passage in read.passages:
                self._spool.add(passage)
            ids = [passage.id.rpartition("#")[2] for passage in read.passages]
            return FileState(read.size, read.mtime_ns, read.sha256, ids, read.note)
        if read is not None and read.passing:
            return _as_before(old, read)
        if old is not None and old.sha256:
            self.changed += 1
            self._replace(found.path, old)
        if read is None and not found.place.exists():
            return None
        reason, extra = ("", "") if read is None else (read.reason, read.extra)
        return FileState(found.size, found.mtime_ns, skipped=reason, extra=extra)

    def _replace(self, path: str, old: FileState | None) -> None:
        if self.replaces is not None and old is not None:
            self.replaces += old.ids(path)

    @property
    def count(self) -> int:
        """Passages of the files that were read."""
        return len(self._spool)

    @property
    def unchanged(self) -> bool:
        """Whether the folder has the content that it had before."""
        return self.before is not None and self.state.data == self.before.data

    @property
    def fingerprint(self) -> str:
        """That of the whole folder."""
        return self.state.data

    @property
    def splits(self) -> list[str]:
        """None."""
        return []

    def located_passages(self, report: Report = stop) -> Placed[Passage]:
        """Each passage with its id as its place."""
        return ((passage.id, passage) for passage in self._spool)

    def located_queries(self, report: Report = stop) -> Placed[Query]:
        """None."""
        return iter(())

    def read_split(self, split: str, report: Report) -> Placed[Judgement]:
        """None."""
        return iter(())


def _as_before(old: FileState | None, now: Skipped | None = None) -> FileState:
    """What is known of a file that cannot be read for a reason that may pass: all that was known before.

    One that changes while it is read, or is locked, is looked at again whatever its size and time say.

    Args:
        old: as it was the last time.
        now: why it cannot be read; None where that is said of its folder.
    """
    one = FileState(0, 0) if old is None else old
    reason = "" if now is None else now.reason
    return FileState(-1, 0, one.sha256, one.passages, one.note, skipped=reason)


def _can_be_read_now(old: FileState, found: Found) -> bool:
    """Whether a file was left out for want of a reader that is installed by now."""
    return bool(old.extra) and has_reader(found.path)


class _Spool:
    """Passages in a temporary file that goes with the process, however that ends."""

    def __init__(self) -> None:
        self._file: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - kept open
        weakref.finalize(self, self._file.close)
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, passage: Passage) -> None:
        """Append a passage."""
        row = [passage.id, passage.text, passage.title, dict(passage.fields)]
        self._file.seek(0, 2)
        self._file.write(json.dumps(row) + "\n")
        self._length += 1

    def __iter__(self) -> Iterator[Passage]:
        place = 0
        for _ in range(self._length):
            self._file.seek(place)  # another reading may be under way
            row = json.loads(self._file.readline())
            place = self._file.tell()
            yield Passage(row[0], row[1], row[2], row[3])
