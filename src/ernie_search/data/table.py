"""Tables with named columns (CSV, TSV, JSON lines): passages, or training rows of question and passages."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from ernie_search._util.files import JSON, did_you_mean
from ernie_search._util.lines import Placed, Report, parsed, stop
from ernie_search.data.examples import (
    Example,
    ExampleCollection,
    ReadExamples,
    make_passage,
    make_query,
)
from ernie_search.data.locator import files_fingerprint, parse_locator, parse_paths, split_of, stem_of
from ernie_search.data.readers import as_object, delimiter_of, json_name, read_objects, read_rows
from ernie_search.errors import DataError
from ernie_search.types import Passage

Item = TypeVar("Item")

IDS = ("_id", "id", "docid", "doc_id", "docno", "pid", "passage_id", "psg_id")
TITLES = ("title",)
TEXTS = ("text", "passage", "body", "content", "contents", "document")
QUERIES = ("query", "question", "anchor")
POSITIVES = ("positive", "positives", "pos", "positive_passages", "answer", *TEXTS)
NEGATIVE = re.compile(r"neg(ative)?(s|_passages)?(_?\d+)?")
ANSWERS = ("answers",)

OPTIONS = ("id", "title", "text", "query", "positive", "negative", "answers")
"""The roles that a source's options give to columns (``?text=body``)."""
PASSAGE_ROLES = ("id", "title", "text")
EXAMPLE_ROLES = ("query", "positive", "negative", "answers", "title")
"""Those that a table of passages has, and one of training rows."""

Row = Mapping[str, Any]
"""Column -> cell."""

PEEKED = 100
"""Lines whose keys are taken for a JSON lines file's columns: an object may lack what is empty."""
DELIMITER_NAMES = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column plays which role; "" where none does. Without ``query`` each row is a passage."""

    id: str = ""
    title: str = ""
    text: str = ""
    query: str = ""
    positive: str = ""
    negatives: tuple[str, ...] = ()
    answers: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose rows can be read again and again.

    Attributes:
        where: place of the header, for messages.
        names: the columns.
        split: the split that the rows belong to, if they ask questions.
        rows: reads them, each with its place.
    """

    where: str
    names: Sequence[str]
    split: str
    rows: Callable[[Report], Placed[Row]]


def choose_columns(where: str, names: Sequence[str], options: Mapping[str, str]) -> Columns:
    """The roles of a table's columns: what the options say, else what the usual names say.

    Args:
        where: place of the header, for messages.
        names: the table's columns.
        options: role -> column, of ``OPTIONS``; negatives may be several, separated by commas.

    Raises:
        DataError: an option names a column that is not there (the nearest is named), or gives a role that
            the table's kind does not have; no column is the text.
    """

    def first(role: str, usual: Collection[str]) -> str:
        wanted = options.get(role)
        return next((name for name in usual if name in names), "") if wanted is None else wanted

    negatives = options["negative"].split(",") if "negative" in options else None
    singles = [name for role, name in options.items() if role != "negative"]
    for name in (*singles, *(negatives or ())):
        if name not in names:
            raise DataError(f"{where}: no column {name!r}{did_you_mean(name, names)}")
    has_examples = "text" not in options or "query" in options or "positive" in options
    query = first("query", QUERIES) if has_examples else ""
    positive = first("positive", POSITIVES) if query or "positive" in options else ""
    text = first("text", TEXTS)
    if query and positive:
        _check_roles(where, options, EXAMPLE_ROLES, "training rows", "for passages give ?text=COLUMN alone")
        if negatives is None:
            negatives = [name for name in names if NEGATIVE.fullmatch(name)]
        chosen = tuple(name for name in negatives if name != positive)
        return Columns("", first("title", TITLES), "", query, positive, chosen, first("answers", ANSWERS))
    if query or positive:
        lacking, usual = ("positive", "positive") if query else ("query", "query")
    elif text:
        more = "for training rows say which column is the question: ?query=COLUMN"
        _check_roles(where, options, PASSAGE_ROLES, "passages", more)
        return Columns(id=first("id", IDS), title=first("title", TITLES), text=text)
    else:
        lacking, usual = "text", "text"
    raise DataError(
        f"{where}: no column {usual!r}{did_you_mean(usual, names)}; say which it is with ?{lacking}=COLUMN"
    )


def _check_roles(
    where: str, options: Mapping[str, str], roles: Collection[str], what: str, else_do: str
) -> None:
    """Refuse an option of a role that nothing is read for."""
    other = next((role for role in options if role not in roles), None)
    if other is not None:
        raise DataError(
            f"{where}: a table of {what} has no {other!r}, only {', '.join(roles)}; leave it out, or "
            f"{else_do}"
        )


def cell(row: Row, name: str) -> str:
    """A text of the row; numbers become strings. ValueError if it is missing, empty, or no text."""
    value = row.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name!r} is {json_name(value)} where a string belongs")
    if value is None or not value.strip():
        what = "empty" if name in row else "no"
        raise ValueError(f"{what} {name!r}; fill it in or remove the line")
    return value


def passage_of_object(row: Row, columns: Columns | None = None) -> Passage:
    """A row's passage, with its id, title and text under their usual names if no columns are given."""
    if columns is None:
        own_id, own_title, own_text = (
            next((name for name in usual if name in row), "") for usual in (IDS, TITLES, TEXTS)
        )
        columns = Columns(own_id, own_title, own_text or TEXTS[0])
    title = (row.get(columns.title) if columns.title else "") or ""
    if not isinstance(title, str):
        raise ValueError(f"{columns.title!r} is {json_name(title)} where a string belongs")
    own = {columns.id, columns.title, columns.text, "metadata"}
    nested = row.get("metadata")
    fields = {name: value for name, value in row.items() if name not in own and value not in (None, "")}
    return make_passage(
        cell(row, columns.id) if columns.id else "",
        text_beside(title, row, columns.text),
        title,
        {**fields, **(nested if isinstance(nested, Mapping) else {})},
    )


def text_beside(title: str, row: Row, name: str) -> str:
    """The text of a row, which may be empty or absent where there is a title."""
    value = row.get(name)
    empty = value is None or (isinstance(value, str) and not value.strip())
    return "" if empty and title.strip() else cell(row, name)


def passages_of(value: Any, name: str, title: str = "") -> list[Passage]:
    """The passages of a cell: a text, an object with id, title and text, or a list of these."""
    if isinstance(value, list):
        return [passage for one in value for passage in passages_of(one, name)]
    if isinstance(value, Mapping):
        found = passage_of_object(value)
        return [Passage(found.id, found.text, found.title)]  # its score belongs to this question alone
    return [make_passage("", text_beside(title, {name: value}, name), title)]


def answers_in(value: Any) -> list[Any]:
    """The answers of a cell: a list, a list as JSON, or one answer."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return list(JSON.decode(value))
        except (ValueError, RecursionError):
            return [value]
    return value if isinstance(value, list) else [value]


def example_of(row: Row, columns: Columns) -> Example:
    """A row with a question, its positives and its negatives; ValueError says what is wrong.

    An empty negative is none: tables with several columns of them have rows with fewer.
    """
    title = row.get(columns.title) if columns.title else ""
    answers = row.get(columns.answers) if columns.answers else None
    fields = {"answers": answers_in(answers)} if answers not in (None, "") else None
    negatives = [(name, row.get(name)) for name in columns.negatives]
    return Example(
        make_query("", cell(row, columns.query), fields),
        tuple(passages_of(row.get(columns.positive), columns.positive, str(title or ""))),
        tuple(
            one for name, value in negatives if value not in (None, "") for one in passages_of(value, name)
        ),
    )


def read_table(
    table: Table, parse: Callable[[Row, Columns], Item], columns: Columns, report: Report = stop
) -> Placed[Item]:
    """Each row as ``parse`` makes it, with its place."""
    return parsed(table.rows(report), lambda row: parse(row, columns), report)


def tables_as_collection(
    name: str,
    source: str,
    tables: Sequence[Table],
    options: Mapping[str, str],
    fingerprint_of: Callable[[], str],
) -> ExampleCollection:
    """One table of passages, or a table of training rows for each split.

    Args:
        options: role -> column, where the names do not say it themselves.
        fingerprint_of: gives the fingerprint.

    Raises:
        DataError: no such column, passages and training rows mixed, two tables of one split.
    """
    roles = {key: value for key, value in options.items() if key in OPTIONS}
    chosen = [choose_columns(table.where, table.names, roles) for table in tables]
    corpora = [table for table, columns in zip(tables, chosen, strict=True) if not columns.query]
    if corpora and len(tables) > 1:
        raise DataError(f"{source}: {corpora[0].where} has no questions; passages are one table, by itself")
    if corpora:
        return ExampleCollection(
            name, source, {}, fingerprint_of, partial(read_table, corpora[0], passage_of_object, chosen[0])
        )
    splits: dict[str, ReadExamples] = {}
    for table, columns in zip(tables, chosen, strict=True):
        if table.split in splits:
            raise DataError(f"{table.where}: a second table of split {table.split!r}; name one a split")
        splits[table.split] = partial(read_table, table, example_of, columns)
    return ExampleCollection(name, source, splits, fingerprint_of)


def csv_rows(path: Path, delimiter: str, report: Report = stop) -> Placed[Row]:
    """Each row below the header as column -> cell.

    Raises:
        DataError: a row with another number of cells than the header, and what ``read_rows`` raises.
    """
    rows = read_rows(path, delimiter, report=report)
    _, names = next(rows, ("", []))
    names = [name.strip() for name in names]

    def row(cells: list[str]) -> Row:
        if len(cells) != len(names):
            what = f"{len(cells)} columns where the header has {len(names)}"
            raise ValueError(f"{what}; quote cells that hold {delimiter!r}")
        return dict(zip(names, cells, strict=True))

    return parsed(rows, row, report)


def csv_table(path: Path, options: Mapping[str, str]) -> Table:
    """A CSV or TSV file with a header; DataError if it has none, or names a column twice."""
    wanted = options.get("delimiter", "")
    delimiter = DELIMITER_NAMES.get(wanted, wanted) or delimiter_of(path)
    if len(delimiter) != 1:
        known = ", ".join(DELIMITER_NAMES)
        raise DataError(f"{path}: delimiter {wanted!r}; give one character, or one of {known}")
    where, cells = next(read_rows(path, delimiter), ("", []))
    names = [cell.strip() for cell in cells]
    if not any(names):
        raise DataError(f"{path}: empty; the first line names the columns")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{where}: two columns {twice!r}; rename one")
    split = options.get("split") or split_of(stem_of(path))
    return Table(where, names, split, partial(csv_rows, path, delimiter))


def jsonl_rows(path: Path, report: Report = stop) -> Placed[Row]:
    """Each line's object."""
    return read_objects(path, as_object, report)


def jsonl_table(path: Path, options: Mapping[str, str]) -> Table:
    """A JSON lines file; its first objects name the columns. DataError for a file without any.

    Faults of lines are reported when the rows are read, unless there is nothing else.
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
    """``jsonl:FILE[,FILE...][?ROLE=KEY&...]``: one object per line; a positive or negative may be a list.

    Raises:
        DataError: no such file or key; see ``tables_as_collection``.
    """
    return open_tables(f"jsonl:{rest}", rest, (), jsonl_table)
