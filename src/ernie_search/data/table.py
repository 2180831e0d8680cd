"""Tables with named columns (CSV, TSV, JSON lines): passages, or training rows of question and passages."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from ernie_search.data.collection import Report, stop
from ernie_search.data.columns import (
    OPTIONS,
    Columns,
    ExampleCollection,
    ReadExamples,
    Row,
    choose_columns,
    example_of,
    passage_of_object,
)
from ernie_search.data.located import files_fingerprint, parse_locator, parse_paths, split_of, stem_of
from ernie_search.data.readers import delimiter_of, read_objects, read_rows
from ernie_search.errors import DataError

Item = TypeVar("Item")
Rows = Iterator[tuple[str, Row]]
PEEKED = 100
"""Lines whose keys are taken for a JSON lines file's columns: an object may lack what is empty."""
DELIMITER_NAMES = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows that can be read again and again.

    Attributes:
        where: place of the header, for messages.
        names: the columns.
        split: the split that the rows belong to, if they ask questions.
        rows: reads them, each with its place.
    """

    where: str
    names: Sequence[str]
    split: str
    rows: Callable[[Report], Rows]


def parsed(
    rows: Callable[[Report], Rows], parse: Callable[[Row, Columns], Item], columns: Columns, report: Report
) -> Iterator[tuple[str, Item]]:
    """Each row as ``parse`` makes it; what it refuses by ValueError is reported with the row's place."""
    for where, row in rows(report):
        try:
            item = parse(row, columns)
        except ValueError as error:
            report(DataError(f"{where}: {error}"))
            continue
        yield where, item


def tables_as_collection(
    name: str, source: str, tables: Sequence[Table], options: Mapping[str, str], print_of: Callable[[], str]
) -> ExampleCollection:
    """One table of passages, or a table of training rows for each split.

    Args:
        options: role -> column, where the names do not say it themselves.
        print_of: gives the fingerprint.

    Raises:
        DataError: no such column, passages and training rows mixed, two tables of one split.
    """
    roles = {key: value for key, value in options.items() if key in OPTIONS}
    chosen = [choose_columns(table.where, table.names, roles) for table in tables]
    corpora = [table for table, columns in zip(tables, chosen, strict=True) if not columns.query]
    if corpora and len(tables) > 1:
        raise DataError(f"{source}: {corpora[0].where} has no questions; passages are one table, by itself")
    if corpora:
        corpus = partial(parsed, corpora[0].rows, passage_of_object, chosen[0])
        return ExampleCollection(name, source, {}, print_of, corpus)
    splits: dict[str, ReadExamples] = {}
    for table, columns in zip(tables, chosen, strict=True):
        if table.split in splits:
            raise DataError(f"{table.where}: a second table of split {table.split!r}; name one a split")
        splits[table.split] = partial(parsed, table.rows, example_of, columns)
    return ExampleCollection(name, source, splits, print_of)


def csv_rows(path: Path, delimiter: str, report: Report = stop) -> Rows:
    """Each row below the header as column -> cell.

    Raises:
        DataError: a row with another number of cells than the header, and what ``read_rows`` raises.
    """
    rows = read_rows(path, delimiter, report=report)
    _, names = next(rows, (0, []))
    for number, cells in rows:
        if len(cells) != len(names):
            what = f"{len(cells)} columns where the header has {len(names)}"
            report(DataError(f"{path}:{number}: {what}; quote cells that hold {delimiter!r}"))
            continue
        yield f"{path}:{number}", dict(zip((name.strip() for name in names), cells, strict=True))


def csv_table(path: Path, options: Mapping[str, str]) -> Table:
    """A CSV or TSV file with a header; DataError if it has none, or names a column twice."""
    wanted = options.get("delimiter", "")
    delimiter = DELIMITER_NAMES.get(wanted, wanted) or delimiter_of(path)
    if len(delimiter) != 1:
        known = ", ".join(DELIMITER_NAMES)
        raise DataError(f"{path}: delimiter {wanted!r}; give one character, or one of {known}")
    number, cells = next(read_rows(path, delimiter), (1, []))
    names = [cell.strip() for cell in cells]
    if not any(names):
        raise DataError(f"{path}: empty; the first line names the columns")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path}:{number}: two columns {twice!r}; rename one")
    split = options.get("split") or split_of(stem_of(path))
    return Table(f"{path}:{number}", names, split, partial(csv_rows, path, delimiter))


def as_it_is(row: dict[str, Any]) -> Row:
    """A line's object, unchanged."""
    return row


def jsonl_rows(path: Path, report: Report = stop) -> Rows:
    """Each line's object."""
    return read_objects(path, as_it_is, report)


def jsonl_table(path: Path, options: Mapping[str, str]) -> Table:
    """A JSON lines file; its first objects name the columns. DataError for a file without any.

    What is wrong with a line is told when the rows are read, unless nothing else is there.
    """
    errors: list[DataError] = []
    first = list(islice(jsonl_rows(path, errors.append), PEEKED))
    names = list(dict.fromkeys(name for _, row in first for name in row))
    if not names:
        raise errors[0] if errors else DataError(f"{path}: empty; each line is an object with the same keys")
    split = options.get("split") or split_of(stem_of(path))
    return Table(first[0][0], names, split, partial(jsonl_rows, path))


def open_tables(
    source: str, rest: str, extra: Sequence[str], read: Callable[[Path, Mapping[str, str]], Table]
) -> ExampleCollection:
    """The files that a source names, each read by ``read``, as one collection."""
    place, options = parse_locator(source, rest, (*OPTIONS, "split", *extra))
    paths = parse_paths(source, place)
    folder = next((path for path in paths if path.is_dir()), None)
    if folder is not None:
        raise DataError(f"{folder}: a folder; {source.partition(':')[0]}: reads files, separated by commas")
    tables = [read(path, options) for path in paths]
    return tables_as_collection(
        stem_of(paths[0]), source, tables, options, lambda: files_fingerprint(paths, "table", options)
    )


def open_csv(rest: str) -> ExampleCollection:
    """``csv:FILE[,FILE...][?ROLE=COLUMN&...]``: a table with a header, comma or tab separated.

    Roles: text, id, title (passages); query, positive, negative, answers (training rows). Other options:
    split, delimiter.

    Raises:
        DataError: no such file or column; see ``tables_as_collection``.
    """
    return open_tables(f"csv:{rest}", rest, ("delimiter",), csv_table)


def open_jsonl(rest: str) -> ExampleCollection:
    """``jsonl:FILE[,FILE...][?ROLE=KEY&...]``: one object a line; a positive or negative may be a list.

    Raises:
        DataError: no such file or key; see ``tables_as_collection``.
    """
    return open_tables(f"jsonl:{rest}", rest, (), jsonl_table)
