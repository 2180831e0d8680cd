"""A judging in its folder: what is to be judged, every mark as it was given, and the test set out of them."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from io import BufferedRandom
from pathlib import Path
from typing import Any

from ernie_search._util.files import (
    atomic_write,
    fingerprint,
    fsync_directory,
    is_unfinished,
    lock,
    read_json,
    storage_errors,
    write_json,
)
from ernie_search.errors import DataError, SettingsError, StorageError
from ernie_search.evaluation import write_qrels, write_run
from ernie_search.judge.pool import PooledQuestion
from ernie_search.types import Qrels, Query, Run

SETTINGS_FILE, POOL_FILE, MARKS_FILE = "judging.json", "pool.jsonl", "marks.jsonl"
RUN_FILES = ("first.trec", "second.trec")
BEFORE_SETTINGS = (POOL_FILE, "corpus.jsonl", "queries.jsonl", "runs")
"""What :func:`create` writes in this order; the settings come last."""
FORMAT = 1
NOTED_SINCE = frozenset({"model", "cross"})
"""What the settings of a judging of an earlier version lack; such a one continues under any."""
WHAT_DIFFERS = {"asked": "other systems", "model": "another model", "cross": "another cross-encoder"}
GRADES = {"relevant": 2, "partly": 1, "not": 0}
"""Grades of the marks; a hit that is skipped gets none."""
MARKS = (*GRADES, "skip")
PREFERENCES = ("left", "right", "equal", "skip")


class Judging:
    """An open folder of judgements; everything that was marked is on disk when a call returns.

    ``marks.jsonl`` has a line for each mark, and a later line counts for an earlier one of the same hit.
    Beside it stands a BEIR folder (``corpus.jsonl`` with the pooled hits, ``queries.jsonl``,
    ``qrels/test.tsv``), and each system's run in ``runs/``.

    Attributes:
        folder: where.
        names: of the systems: one, or two that are compared.
        k: hits of each system.
        questions: what is judged.
        marks: for each question, id -> mark.
        preferences: for each question the side preferred; "" if nobody said.
    """

    def __init__(self, folder: Path, *, writing: bool = True) -> None:
        """Open what ``create`` made.

        Args:
            folder: where it is.
            writing: take the folder's lock, and cut a half-written last line.

        Raises:
            DataError: no judging there, or a file of it is damaged.
            StorageError: another process has it open, or the disk refuses.
        """
        self.folder = folder
        settings = read_settings(folder)
        self.names: tuple[str, ...] = tuple(settings["names"])
        self.k: int = settings["k"]
        self.questions = _read_pool(folder / POOL_FILE)
        self.marks: list[dict[str, str]] = [{} for _ in self.questions]
        self.preferences = [""] * len(self.questions)
        self._places = {one.query.id: number for number, one in enumerate(self.questions)}
        self._handle = _open_alone(folder / MARKS_FILE) if writing else None
        try:
            self._read_marks()
        except BaseException:
            self.close()
            raise

    @property
    def compares(self) -> bool:
        """Whether two systems are compared."""
        return len(self.names) == 2

    def is_judged(self, number: int) -> bool:
        """Whether every hit of a question is marked or skipped."""
        return len(self.marks[number]) == len(self.questions[number].order)

    def is_finished(self, number: int) -> bool:
        """Whether nothing of a question is left to say."""
        return self.is_judged(number) and bool(self.preferences[number] or not self.compares)

    @property
    def finished(self) -> int:
        """How many questions are finished."""
        return sum(map(self.is_finished, range(len(self.questions))))

    @property
    def next_question(self) -> int | None:
        """The first question that is not finished; None if all are."""
        return next((one for one in range(len(self.questions)) if not self.is_finished(one)), None)

    def mark(self, number: int, passage: str, mark: str) -> None:
        """Mark a hit of a question.

        Raises:
            SettingsError: no such question, hit or mark.
            StorageError: the disk refuses; nothing is marked.
        """
        self._check(number)
        if passage not in self.questions[number].order:
            raise SettingsError(f"question {number + 1} has no hit {passage!r:.80}; reload the page")
        if mark not in MARKS:
            raise SettingsError(f"no mark {mark!r:.80}; known: {', '.join(MARKS)}")
        self._append({"query": self.questions[number].query.id, "passage": passage, "mark": mark})
        self.marks[number][passage] = mark
        if self.is_judged(number):
            self.write_qrels()

    def prefer(self, number: int, side: str) -> None:
        """Say which side of a question is the better one; errors as :meth:`mark`."""
        self._check(number)
        if side not in PREFERENCES or not self.compares:
            raise SettingsError(
                f"no side {side!r:.80}; known: {', '.join(PREFERENCES)}, where two are compared"
            )
        self._append({"query": self.questions[number].query.id, "prefer": side})
        self.preferences[number] = side

    def qrels(self) -> Qrels:
        """Grades of the questions all of whose hits are marked: of others the best hits may be missing."""
        found = {}
        for number, one in enumerate(self.questions):
            marks = self.marks[number]
            grades = {hit: GRADES[marks[hit]] for hit in one.order if marks.get(hit) in GRADES}
            if grades and self.is_judged(number):
                found[one.query.id] = grades
        return found

    def runs(self) -> dict[str, Run]:
        """Each system's hits; the scores say the ranks alone."""
        return {
            name: {one.query.id: _ranks([hit.id for hit in one.lists[system]]) for one in self.questions}
            for system, name in enumerate(self.names)
        }

    def write_qrels(self) -> None:
        """Write ``qrels/test.tsv``, whole or not at all."""
        write_qrels(self.folder / "qrels" / "test.tsv", self.qrels())

    def close(self) -> None:
        """Let others open the folder."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _check(self, number: int) -> None:
        if not 0 <= number < len(self.questions):
            raise SettingsError(f"no question {number + 1}; there are {len(self.questions)}")

    def _append(self, line: Mapping[str, str]) -> None:
        if self._handle is None:
            raise SettingsError(f"{self.folder}: was opened to be read")
        end = self._handle.seek(0, os.SEEK_END)
        try:
            with storage_errors(self.folder / MARKS_FILE):
                self._handle.write(f"{json.dumps(line, ensure_ascii=False)}\n".encode())
                self._handle.flush()
                os.fsync(self._handle.fileno())
        except BaseException:
            self._handle.truncate(end)
            raise

    def _read_marks(self) -> None:
        path = self.folder / MARKS_FILE
        content = path.read_bytes() if path.is_file() else b""
        whole = content.rfind(b"\n") + 1  # a kill may have cut the last line, which nobody was told of
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                row = json.loads(line)
                place = self._places[row["query"]]
                if "prefer" in row:
                    self.preferences[place] = {side: side for side in PREFERENCES}[row["prefer"]]
                else:
                    passage = {hit: hit for hit in self.questions[place].order}[row["passage"]]
                    self.marks[place][passage] = {mark: mark for mark in MARKS}[row["mark"]]
            except (ValueError, KeyError, TypeError):
                raise DataError(f"{path}:{number}: no mark of this judging; remove the line") from None
        if self._handle is not None and whole < len(content):
            self._handle.truncate(whole)


def identity_of(
    asked: Sequence[Mapping[str, Any]],
    queries: Sequence[Query],
    k: int,
    seed: int,
    *,
    model: str | None = None,
    cross: str | None = None,
) -> dict[str, Any]:
    """What a judging is of: systems as they were asked for, with their models, questions, depth and seed."""
    questions = fingerprint([[one.id, one.text] for one in queries])
    systems = {"asked": [dict(one) for one in asked], "model": model, "cross": cross}
    return {**systems, "questions": questions, "k": k, "seed": seed}


def found_judging(folder: Path, identity: Mapping[str, Any]) -> bool:
    """Whether a folder has this judging, so that it continues.

    Raises:
        SettingsError: it has another one, or other files.
        DataError: its settings are damaged.
    """
    if not (folder / SETTINGS_FILE).is_file():
        others = {one.name for one in folder.iterdir()} if folder.is_dir() else set()
        # A kill leaves the pool, which comes first, and what follows it. Without a pool, passages and
        # questions are somebody's own collection.
        left = (
            {*BEFORE_SETTINGS, MARKS_FILE} if POOL_FILE in others and _read_pool(folder / POOL_FILE) else ()
        )
        foreign = {one for one in others if not is_unfinished(one, *BEFORE_SETTINGS, SETTINGS_FILE)}
        if foreign := foreign.difference(left):
            raise SettingsError(f"{folder}: holds other files ({min(foreign)}); choose another --output")
        return False
    settings = read_settings(folder)
    known = settings.keys() | (identity.keys() - NOTED_SINCE)
    other = [key for key, value in identity.items() if key in known and settings.get(key) != value]
    if other:
        what = WHAT_DIFFERS.get(other[0], f"other {other[0]}")
        raise SettingsError(
            f"{folder}: holds a judging of {what}; choose another --output, or give the same as before"
        )
    return True


def create(
    folder: Path, identity: Mapping[str, Any], names: Sequence[str], questions: Iterable[PooledQuestion]
) -> None:
    """Write a judging that has no marks yet; its settings come last, so it is there whole or not at all.

    Raises:
        StorageError: the disk refuses.
    """
    rows = list(questions)
    passages: dict[str, dict[str, str]] = {}
    for hit in (hit for one in rows for hits in one.lists for hit in hits):
        known = passages.setdefault(hit.id, {"_id": hit.id, "title": hit.title, "text": hit.text})
        if hit.text not in known["text"]:  # another piece of the same document
            known["text"] += f"\n\n{hit.text}"
    _write_lines(folder / POOL_FILE, [one.as_json() for one in rows])
    _write_lines(folder / "corpus.jsonl", passages.values())
    _write_lines(folder / "queries.jsonl", [{"_id": one.query.id, "text": one.query.text} for one in rows])
    for system, file in enumerate(RUN_FILES[: len(names)]):
        run = {one.query.id: _ranks([hit.id for hit in one.lists[system]]) for one in rows}
        write_run(folder / "runs" / file, run)
    write_json(folder / SETTINGS_FILE, {"format": FORMAT, **identity, "names": list(names)})


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a judging.

    Raises:
        DataError: there is none, or they are damaged, or of another version.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        raise DataError(
            f"{folder}: no judging here; begin one with: ernie-search judge STORE --questions FILE"
        )
    found: dict[str, Any] = read_json(path)
    names = found.get("names") if isinstance(found, dict) else None
    if not isinstance(names, list) or len(names) not in (1, 2) or not isinstance(found.get("k"), int):
        raise DataError(f"{path}: not the settings of a judging; restore the file, or choose another folder")
    if found.get("format") != FORMAT:
        raise DataError(f"{path}: format {found.get('format')!r:.20}, and this version reads {FORMAT}")
    return found


def _read_pool(path: Path) -> list[PooledQuestion]:
    try:
        with open(path, encoding="utf-8") as handle:
            return [PooledQuestion.from_json(json.loads(line)) for line in handle]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}); restore the file") from error


def _open_alone(path: Path) -> BufferedRandom:
    """The file of marks, made if it is not there, and locked."""
    with storage_errors(path):
        handle = open(path, "a+b")  # noqa: SIM115 - open as long as the judging
        try:
            lock(handle.fileno())
        except BlockingIOError:
            handle.close()
            raise StorageError(f"{path.parent}: another judge has it open; end that one first") from None
        fsync_directory(path.parent)
    return handle


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with atomic_write(path) as handle:
        handle.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def _ranks(ids: Sequence[str]) -> dict[str, float]:
    return {one: float(len(ids) - rank) for rank, one in enumerate(ids)}
