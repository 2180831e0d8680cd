"""What a generator was asked and answered, kept on disk: the same request is paid for once."""

import json
import os
from pathlib import Path

from ernie_search._util.files import JSON, storage_errors


class KeptAnswers:
    """Answers on disk, a line each, written through to the disk before the next request is made.

    A line that a kill broke off is dropped; lines that another one adds meanwhile stay.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tokens_in = self.tokens_out = 0
        self._texts: dict[str, str] = {}
        self._marks: set[str] = set()
        self._sound, self._is_whole = 0, True
        with storage_errors(path):
            if path.exists():
                self._read()

    def __len__(self) -> int:
        return len(self._texts)

    def _read(self) -> None:
        with open(self.path, "rb") as handle:
            for line in handle:
                try:
                    row = JSON.decode(line.decode())
                    key, mark, text = (row["key"], row["mark"], row["answer"])
                    counts = (int(row["in"]), int(row["out"]))
                except (ValueError, KeyError, TypeError):
                    continue
                if line.endswith(b"\n"):
                    self._note(key, mark, text, counts)
                    self._sound = handle.tell()
            self._is_whole = handle.tell() == self._sound

    def _note(self, key: str, mark: str, text: str | None, counts: tuple[int, int]) -> None:
        if text is not None:
            self._texts[key] = text
            self._marks.add(mark)
        self.tokens_in += counts[0]
        self.tokens_out += counts[1]

    def get(self, key: str) -> str | None:
        """The answer to this request, if there was one."""
        return self._texts.get(key)

    def has_any(self, mark: str) -> bool:
        """Whether this was asked with any seed."""
        return mark in self._marks

    def add(self, key: str, mark: str, text: str | None, counts: tuple[int, int]) -> None:
        """Keep an answer; of None only what it took counts, and the request may be made again."""
        row = {"key": key, "mark": mark, "answer": text, "in": counts[0], "out": counts[1]}
        with storage_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab") as handle:
                if not self._is_whole:
                    handle.truncate(self._sound)
                    self._is_whole = True
                handle.write(f"{json.dumps(row)}\n".encode())
                handle.flush()
                os.fsync(handle.fileno())
        self._note(key, mark, text, counts)
