"""Named columns of a table, and training sets that hold texts in place of ids."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ernie_search._util.files import JSON, did_you_mean
from ernie_search.data.beir import parse_passage, parse_query
from ernie_search.data.collection import Judgement, Report, order_splits, stop
from ernie_search.data.id_set import IdSet
from ernie_search.data.located import LocatedCollection
from ernie_search.data.readers import json_name
from ernie_search.errors import DataError
from ernie_search.types import Passage, Query

RELEVANT, IRRELEVANT = 1, 0
"""The grades of a positive and of a negative."""


@dataclass(frozen=True, slots=True)
class Example:
    """A question with passages: relevant, irrelevant, and such as are there but not judged."""

    query: Query
    positives: tuple[Passage, ...]
    negatives: tuple[Passage, ...] = ()
    others: tuple[Passage, ...] = ()

    @property
    def passages(self) -> tuple[Passage, ...]:
        """All of them."""
        return (*self.positives, *self.negatives, *self.others)


LocatedExamples = Iterator[tuple[str, Example]]
ReadExamples = Callable[[Report], LocatedExamples]
ReadPassages = Callable[[Report], Iterator[tuple[str, Passage]]]


def text_id(*parts: str) -> str:
    """An id for a text that came without: 16 hex digits of it, so that the same text is the same item."""
    # a character that no text holds, so that ("a", "bc") and ("ab", "c") differ
    return hashlib.blake2b("\x1f".join(parts).encode(errors="surrogatepass"), digest_size=8).hexdigest()


def pair_key(query: Query, passage: Passage) -> str:
    """One string for a question and a passage; ids have no white space."""
    return f"{query.id}\t{passage.id}"


class ExampleCollection(LocatedCollection):
    """Rows of texts as a collection. Read again for each of the three streams, so never held in memory.

    A question is judged by all rows that ask it. A passage that one row calls relevant stays so when another
    row has it among its negatives. A question without any relevant passage is not judged at all.

    Args:
        name: a short name.
        source: what ``open_collection`` was asked for.
        splits: each split's name and how its rows are read.
        print_of: gives the fingerprint.
        corpus: where the passages come from, if not from the rows.
    """

    def __init__(
        self,
        name: str,
        source: str,
        splits: Mapping[str, ReadExamples],
        print_of: Callable[[], str],
        corpus: ReadPassages | None = None,
    ) -> None:
        super().__init__(name, source)
        self._splits = dict(splits)
        self._print_of = print_of
        self._corpus = corpus

    @property
    def splits(self) -> list[str]:
        """The splits' names."""
        return order_splits(self._splits)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with the content."""
        return self._print_of()

    def located_passages(self, report: Report = stop) -> Iterator[tuple[str, Passage]]:
        """Each passage once, where it is met first."""
        return self._corpus(report) if self._corpus else self._passages_of_rows(report)

    def located_queries(self, report: Report = stop) -> Iterator[tuple[str, Query]]:
        """Each question once, where it is met first."""
        # faults of a row were reported with its passages, unless those came from elsewhere
        seen, report = IdSet(), report if self._corpus else _pass_over(report)
        for split in self.splits:
            for where, example in self._splits[split](report):
                if seen.add(example.query.id):
                    yield where, example.query

    def read_split(self, split: str, report: Report) -> Iterator[tuple[str, Judgement]]:
        """First all relevant pairs of the split, then the irrelevant ones."""
        read, report = self._splits[split], _pass_over(report)
        relevant, asked, irrelevant = IdSet(), IdSet(), IdSet()
        for where, example in read(report):
            for passage in example.positives:
                asked.add(example.query.id)
                if relevant.add(pair_key(example.query, passage)):
                    yield where, Judgement(example.query.id, passage.id, RELEVANT)
        for where, example in read(report):
            for passage in example.negatives if example.query.id in asked else ():
                key = pair_key(example.query, passage)
                if key not in relevant and irrelevant.add(key):
                    yield where, Judgement(example.query.id, passage.id, IRRELEVANT)

    def _passages_of_rows(self, report: Report) -> Iterator[tuple[str, Passage]]:
        seen = IdSet()
        for split in self.splits:
            for where, example in self._splits[split](report):
                for passage in example.passages:
                    if seen.add(passage.id):
                        yield where, passage


def _pass_over(report: Report) -> Report:
    """Skip what is wrong where ``report`` goes on: it was told at the first reading."""
    return stop if report is stop else lambda error: None


IDS = ("_id", "id", "docid", "doc_id", "docno", "pid", "passage_id", "psg_id")
TITLES = ("title",)
TEXTS = ("text", "passage", "body", "content", "contents", "document")
QUERIES = ("query", "question", "anchor")
POSITIVES = ("positive", "positives", "pos", "positive_passages", "answer", *TEXTS)
NEGATIVE = re.compile(r"neg(ative)?(s|_passages)?(_?\d+)?")
ANSWERS = ("answers",)

OPTIONS = ("id", "title", "text", "query", "positive", "negative", "answers")
"""The roles that a source's options give to columns (``?text=body``)."""

Row = Mapping[str, Any]


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


def choose_columns(where: str, names: Sequence[str], options: Mapping[str, str]) -> Columns:
    """The roles of a table's columns: what the options say, else what the usual names say.

    Args:
        where: place of the header, for messages.
        names: the table's columns.
        options: role -> column, of ``OPTIONS``; negatives may be several, separated by commas.

    Raises:
        DataError: an option names a column that is not there (the nearest is named); no column is the text.
    """

    def first(role: str, usual: Collection[str]) -> str:
        wanted = options.get(role)
        if wanted is not None:
            return known(wanted)
        return next((name for name in usual if name in names), "")

    def known(name: str) -> str:
        if name not in names:
            raise DataError(f"{where}: no column {name!r}{did_you_mean(name, names)}")
        return name

    has_examples = "text" not in options or "query" in options or "positive" in options
    query = first("query", QUERIES) if has_examples else ""
    positive = first("positive", POSITIVES) if query or "positive" in options else ""
    text = first("text", TEXTS)
    if query and positive:
        wanted = options.get("negative")
        negatives = wanted.split(",") if wanted else [name for name in names if NEGATIVE.fullmatch(name)]
        chosen = tuple(known(name) for name in negatives if name != positive)
        return Columns("", first("title", TITLES), "", query, positive, chosen, first("answers", ANSWERS))
    if query or positive:
        lacking, usual = ("positive", "positive") if query else ("query", "query")
    elif text:
        return Columns(id=first("id", IDS), title=first("title", TITLES), text=text)
    else:
        lacking, usual = "text", "text"
    raise DataError(
        f"{where}: no column {usual!r}{did_you_mean(usual, names)}; say which it is with ?{lacking}=COLUMN"
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


def plain(value: Any) -> Any:
    """A value with what JSON does not know (dates, decimals) as a string, and objects without their nulls."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items() if one is not None}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def make_passage(identifier: str, text: str, title: str = "", fields: Row | None = None) -> Passage:
    """A checked passage; see ``checked_passage`` for what it refuses by ValueError."""
    row = {"_id": identifier or text_id(title, text), "text": text, "title": title.strip()}
    return parse_passage({**row, "metadata": plain(fields or {})})


def make_query(identifier: str, text: str, fields: Row | None = None) -> Query:
    """A checked question; ValueError says what is wrong with it."""
    row = {"_id": identifier or text_id(text), "text": text}
    return parse_query({**row, "metadata": plain(fields or {})})


def passage_of_object(row: Row, columns: Columns | None = None) -> Passage:
    """A passage with its own id, title and text, under their usual names if no columns are given."""
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
        return [
            Passage(found.id, found.text, found.title)
        ]  # its score for another question is none of its own
    return [make_passage("", text_beside(title, {name: value}, name), title)]


def answers_of(value: Any) -> list[Any]:
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
    fields = {"answers": answers_of(answers)} if answers not in (None, "") else None
    negatives = [(name, row.get(name)) for name in columns.negatives]
    return Example(
        make_query("", cell(row, columns.query), fields),
        tuple(passages_of(row.get(columns.positive), columns.positive, str(title or ""))),
        tuple(
            one for name, value in negatives if value not in (None, "") for one in passages_of(value, name)
        ),
    )
