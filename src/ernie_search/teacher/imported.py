"""Scores of others (rerankers, LLM judgements) as a teacher's component, from files and data sets."""

import csv
import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ernie_search._util.lines import open_bytes, read_lines
from ernie_search._util.trec import GRADE_NAMES, PASSAGE_NAMES, QUERY_NAMES, cut, read_run_lines
from ernie_search.data import Collection
from ernie_search.data.hf import SAVED, Hub
from ernie_search.data.readers import allow_long_cells
from ernie_search.errors import DataError, SettingsError
from ernie_search.mining.lists import Lists, TrainingList, write_lists
from ernie_search.mining.passage_table import temporary_file_errors
from ernie_search.teacher.score import with_sum
from ernie_search.teacher.sums import CROSS, LATE, WORDS, parts_of
from ernie_search.teacher.train import check_same_data

SCORE_NAMES = GRADE_NAMES | {"rating", "logit", "similarity"}
"""Names of a column of scores."""
NEEDED = "columns are query-id (or qid), corpus-id (or docid, pid) and score"
BATCH = 10_000
"""Rows that go into the temporary table together."""


class Row(NamedTuple):
    """A score with its place ("scores.jsonl:12")."""

    where: str
    query: str
    passage: str
    score: float


@dataclass(slots=True)
class ImportCounts:
    """What an import found.

    Attributes:
        rows: scores read.
        duplicates: rows of a pair that came before; the first one counts. ``first_duplicate`` names one.
        unknown_questions, unknown_passages: rows of a question that the split lacks, and of a passage that
            the corpus lacks; left out. ``first_unknown_question`` and ``first_unknown_passage`` name one.
        passages, scored: of the lists, and how many of them got a score; ``coverage`` is their ratio.
        unused: scores of known pairs that stand in no list.
        without_positives, without_negatives: only where lists are made: questions with scores that were left
            out, as no relevant passage is known, or as every scored one is relevant.
    """

    rows: int = 0
    duplicates: int = 0
    first_duplicate: str = ""
    unknown_questions: int = 0
    first_unknown_question: str = ""
    unknown_passages: int = 0
    first_unknown_passage: str = ""
    passages: int = 0
    scored: int = 0
    unused: int = 0
    without_positives: int = 0
    without_negatives: int = 0

    @property
    def coverage(self) -> float:
        """Share of the lists' passages that got a score."""
        return round(self.scored / max(1, self.passages), 4)


def import_scores(
    scores: Path | str,
    collection: Collection,
    output: Path | str,
    *,
    lists: Lists | None = None,
    name: str = "imported",
    split: str = "train",
    number: int = 64,
    progress: Callable[[int], None] | None = None,
) -> Lists:
    """Bring scores that others made into training lists, as a component ``name`` of a teacher.

    With ``lists`` these get the scores: their sum becomes the component alone, and parts that they have stay,
    so that ``score`` can weigh them together. Without, lists are made: the positives from the judgements, as
    negatives the best ``number`` scored passages that nobody judged relevant, the question itself left out.
    Passages without a score have NaN, which the terms with a teacher leave out.

    The rows are sorted in a temporary file, so memory grows with neither scores nor lists.

    Args:
        scores: a file in JSON lines, CSV, TSV or TREC's run format (each plain or .gz), Parquet, or the
            folder of a Hugging Face data set that was saved to disk.
        collection: of the ids.
        output: the folder of the lists, replaced if it holds lists already.
        lists: that get the scores.
        name: of the component; not one of those that are computed.
        split: of the questions.
        number: most negatives of a list that is made.
        progress: called with the number of rows read since its last call.

    Returns:
        The lists; ``manifest["imported"]`` has :class:`ImportCounts` and ``coverage``.

    Raises:
        DataError: a row without a column, or whose score is no finite number (with its line); lists of
            another corpus; no score that fits; or a file that cannot be read.
        SettingsError: a name that a computed component has, or ``number`` below 1.
        StorageError: the disk is full or not writable; nothing is left behind.
    """
    check_import_name(name)
    if number < 1:
        raise SettingsError(f"number of negatives is {number}; ask for at least 1")
    if lists is not None:
        check_same_data(lists, collection)
    counts = ImportCounts()
    with temporary_file_errors(), closing(sqlite3.connect("")) as base:
        table = _Table(base, counts)
        table.load(read_scores(Path(scores)), collection, split, progress or (lambda _: None))
        about: dict[str, Any] = {} if lists is None else dict(lists.manifest)
        about.pop("scores", None)
        made = (
            _made(table, collection, split, name, number, counts)
            if lists is None
            else _joined(table, lists, name, counts)
        )
        if lists is None:
            about |= {"made_by": "import", "split": split, "settings": {"number": number}}

        def noted() -> Iterator[TrainingList]:
            yield from made
            if not counts.scored:
                raise DataError(f"{scores}: {_nothing(counts)}")
            counts.unused = table.size() - counts.scored
            about["imported"] = {"name": name, "coverage": counts.coverage, **asdict(counts)}

        return write_lists(Path(output), noted(), data_fingerprint=collection.fingerprint, about=about)


def check_import_name(name: str) -> None:
    """Refuse a name for imported scores that a computed component has, or of other signs.

    Raises:
        SettingsError: it is one.
    """
    if name in (CROSS, LATE, WORDS) or not name.replace("-", "").replace("_", "").isalnum():
        raise SettingsError(
            f"name {name!r}: choose another one for imported scores, of letters and digits, such as llm"
        )


def _nothing(counts: ImportCounts) -> str:
    """Why no score could be used."""
    said = f"none of the {counts.rows:,} scores is of a passage in the lists"
    for number, first, what in (
        (counts.unknown_questions, counts.first_unknown_question, "questions that the split lacks"),
        (counts.unknown_passages, counts.first_unknown_passage, "passages that the corpus lacks"),
    ):
        if number:
            said += f"; {number:,} are of {what}, the first is {first!r}"
    return f"{said}; name the collection and the split that they were made for"


class _Table:
    """Scores by question in a temporary SQLite file, which the system removes by itself."""

    def __init__(self, base: sqlite3.Connection, counts: ImportCounts) -> None:
        self._base, self._counts = base, counts
        for pragma in ("temp_store=1", "journal_mode=OFF", "synchronous=OFF"):
            base.execute(f"PRAGMA {pragma}")
        base.execute(
            "CREATE TABLE scores (query TEXT, passage TEXT, score REAL, PRIMARY KEY (query, passage)) "
            "WITHOUT ROWID"
        )
        base.execute("CREATE TABLE corpus (id TEXT PRIMARY KEY) WITHOUT ROWID")

    def load(
        self, rows: Iterator[Row], collection: Collection, split: str, progress: Callable[[int], None]
    ) -> None:
        """Read all scores, without those of unknown questions and passages."""
        counts = self._counts
        questions = {query.id for query in collection.queries(split)}
        for group in _batches((passage.id,) for passage in collection.passages()):
            self._base.executemany("INSERT OR IGNORE INTO corpus VALUES (?)", group)
        for row in rows:
            counts.rows += 1
            if row.query not in questions:
                counts.unknown_questions += 1
                counts.first_unknown_question = counts.first_unknown_question or row.query
            elif not self._base.execute("SELECT 1 FROM corpus WHERE id = ?", (row.passage,)).fetchone():
                counts.unknown_passages += 1
                counts.first_unknown_passage = counts.first_unknown_passage or row.passage
            elif not self._base.execute("INSERT OR IGNORE INTO scores VALUES (?, ?, ?)", row[1:]).rowcount:
                counts.duplicates += 1
                counts.first_duplicate = counts.first_duplicate or row.where
            progress(1)

    def size(self) -> int:
        """Distinct pairs."""
        found: int = self._base.execute("SELECT count(*) FROM scores").fetchone()[0]
        return found

    def of(self, query: str) -> dict[str, float]:
        """Scores of a question's passages, best first; equal ones by passage id."""
        rows = self._base.execute(
            "SELECT passage, score FROM scores WHERE query = ? ORDER BY score DESC, passage", (query,)
        )
        return dict(rows.fetchall())


def _batches(rows: Iterable[tuple[str]]) -> Iterator[list[tuple[str]]]:
    source = iter(rows)
    while group := list(islice(source, BATCH)):
        yield group


def _joined(table: _Table, lists: Lists, name: str, counts: ImportCounts) -> Iterator[TrainingList]:
    """The lists with the scores of their passages."""
    for one in lists:
        known = table.of(one.query)
        found = tuple(known.get(passage, math.nan) for passage in one.passages)
        counts.passages += len(found)
        counts.scored += sum(not math.isnan(score) for score in found)
        yield with_sum(one, {**parts_of(one), name: found}, {name: 1.0})


def _made(
    table: _Table, collection: Collection, split: str, name: str, number: int, counts: ImportCounts
) -> Iterator[TrainingList]:
    """Lists from scores and judgements, in the order of the questions."""
    qrels = collection.qrels(split)
    for query in collection.queries(split):
        known = table.of(query.id)
        if not known:
            continue
        positives = tuple(sorted(passage for passage, grade in qrels.get(query.id, {}).items() if grade > 0))
        ranks = {passage: rank for rank, passage in enumerate(known, 1)}
        others = (passage for passage in known if passage not in positives and passage != query.id)
        negatives = tuple(islice(others, number))
        if not positives:
            counts.without_positives += 1
            continue
        if not negatives:
            counts.without_negatives += 1
            continue
        found = tuple(known.get(passage, math.nan) for passage in (*positives, *negatives))
        counts.passages += len(found)
        counts.scored += sum(not math.isnan(score) for score in found)
        one = TrainingList(
            query.id, positives, negatives, negative_ranks=tuple(ranks[passage] for passage in negatives)
        )
        yield with_sum(one, {name: found}, {name: 1.0})


def read_scores(path: Path) -> Iterator[Row]:
    """Each score of a file or a saved data set, with its place.

    The format is known by the name (``.jsonl``, ``.csv``, ``.tsv``, ``.parquet``, each also with ``.gz``; a
    folder is a saved data set); any other file is a TREC run. CSV and TSV need a header, but for a TSV of
    three columns: question, passage, score.

    Raises:
        DataError: see :func:`import_scores`.
    """
    kind = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if path.is_dir() or kind in (".parquet", ".arrow"):
        if path.is_dir() and not any((path / name).is_file() for name in SAVED):
            raise DataError(
                f"{path}: no saved data set (no {' or '.join(SAVED)}); name its folder, or a file"
            )
        return _dataset_rows(path)
    if kind in (".jsonl", ".json", ".ndjson"):
        return _json_rows(path)
    if kind in (".csv", ".tsv"):
        return _table_rows(path, "," if kind == ".csv" else "\t")
    return (
        Row(f"{path}:{number}", query, passage, _number(score, f"{path}:{number}"))
        for number, query, passage, score in read_run_lines(path)
    )


def _dataset_rows(path: Path) -> Iterator[Row]:
    hub = Hub(str(path), str(path))
    for split, rows in hub.splits(None).items():
        columns: tuple[str, str, str] | None = None
        for where, row in hub.rows(rows, split):
            columns = columns or _columns(list(row), where)
            yield _row(row, columns, where)


def _json_rows(path: Path) -> Iterator[Row]:
    known: dict[tuple[str, ...], tuple[str, str, str]] = {}
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not JSON; each line is an object, {NEEDED}") from error
        if not isinstance(row, dict):
            raise DataError(f"{where}: no JSON object; each line is an object, {NEEDED}")
        names = tuple(row)
        if names not in known:
            known = {names: _columns(list(names), where)}
        yield _row(row, known[names], where)


def _table_rows(path: Path, separator: str) -> Iterator[Row]:
    open_bytes(path).close()  # a missing file is one line
    allow_long_cells()
    columns: tuple[str, str, str] | None = None
    names: list[str] = []
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        try:
            cells = next(csv.reader([line], delimiter=separator, quoting=csv.QUOTE_MINIMAL), [])
        except csv.Error as error:  # a field beyond the parser's limit
            raise DataError(f"{where}: {error}; {NEEDED}") from error
        if columns is None:
            names = [cell.strip() for cell in cells]
            if len(names) == 3 and separator == "\t" and _is_number(names[2]):
                names = ["query-id", "corpus-id", "score"]  # no header
                columns = _columns(names, where)
            else:
                columns = _columns(names, where)
                continue
        if len(cells) != len(names):
            raise DataError(f"{where}: {len(cells)} columns where the first line has {len(names)}; {NEEDED}")
        yield _row(dict(zip(names, (cell.strip() for cell in cells), strict=True)), columns, where)


def _columns(names: list[str], where: str) -> tuple[str, str, str]:
    """Names of the columns of question, passage and score."""
    found = []
    for what, known in (("question", QUERY_NAMES), ("passage", PASSAGE_NAMES), ("score", SCORE_NAMES)):
        there = [name for name in names if name.strip().lower() in known]
        if len(there) != 1:
            has = f"has columns {', '.join(map(repr, map(cut, names)))}"
            raise DataError(f"{where}: {len(there)} columns of the {what} ({has}); {NEEDED}")
        found.append(there[0])
    return found[0], found[1], found[2]


def _row(row: Mapping[str, Any], columns: tuple[str, str, str], where: str) -> Row:
    query, passage, score = (row.get(name) for name in columns)
    ids = []
    for name, value in zip(columns, (query, passage), strict=False):
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise DataError(f"{where}: {name} is {cut(repr(value))}; an id is a text that is not empty")
        ids.append(str(value))
    return Row(where, ids[0], ids[1], _number(score, where))


def _number(value: Any, where: str) -> float:
    """A finite score."""
    if isinstance(value, bool) or not _is_number(value) or not math.isfinite(float(value)):
        raise DataError(
            f"{where}: the score {cut(repr(value))} is not a finite number; correct the line or leave it out"
        )
    return float(value)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True
