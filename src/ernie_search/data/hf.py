"""Hugging Face data sets, of the hub or of a local folder: BEIR's three configs, or training rows."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ernie_search._util.files import did_you_mean, fingerprint
from ernie_search._util.lines import Placed, Report, parsed, stop
from ernie_search._util.trec import GRADE_NAMES, PASSAGE_NAMES, QUERY_NAMES, check_judgement
from ernie_search.data.collection import (
    Collection,
    LocatedCollection,
    order_splits,
)
from ernie_search.data.examples import make_query
from ernie_search.data.locator import SPLIT_WORDS, files_fingerprint, parse_locator
from ernie_search.data.table import (
    OPTIONS,
    Columns,
    Item,
    Row,
    Table,
    cell,
    choose_columns,
    passage_of_object,
    read_table,
    tables_as_collection,
)
from ernie_search.errors import DataError
from ernie_search.types import Judgement, Passage, Query

MORE_OPTIONS = ("config", "split", "qrels", "revision")
READERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv", ".arrow": "arrow"}
"""Endings of single files -> which of the library's own readers opens them."""
SAVED = ("state.json", "dataset_dict.json")
"""What a folder of ``save_to_disk`` holds."""
QRELS_CONFIGS = ("qrels", "default")
"""Where the judgements of a data set with a ``corpus`` are, by preference."""


def refusal(source: str, error: Exception) -> DataError:
    """The error for what the library raised, in one line."""
    first = str(error).strip().splitlines() or [type(error).__name__]
    return DataError(f"{source}: {first[0]}; check the name, the config and the connection")


class Hub:
    """One data set of the ``datasets`` library, whose errors become one line.

    Args:
        source: for messages.
        place: a name of the hub, a local folder or file.
        revision: commit, branch or tag of the hub.
    """

    def __init__(self, source: str, place: str, revision: str | None = None) -> None:
        self.source, self.revision = source, revision
        self.local = Path(place).expanduser()
        self.place = str(self.local) if self.local.exists() else place

    def configs(self) -> list[str]:
        """The names of its configs; none for a file or a saved data set, which have no such thing."""
        import datasets

        if self.local.is_file() or any((self.local / name).is_file() for name in SAVED):
            return []
        try:
            return list(datasets.get_dataset_config_names(self.place, revision=self.revision))
        except Exception as error:  # the library's own, the connection's, the file system's
            raise refusal(self.source, error) from error

    def splits(self, config: str | None) -> dict[str, Any]:
        """Its own split names -> rows that can be iterated again and again, streamed."""
        import datasets

        try:
            if self.local.is_file():
                suffix = self.local.suffix if self.local.suffix != ".gz" else Path(self.local.stem).suffix
                if suffix not in READERS:
                    raise DataError(f"{self.local}: {suffix!r} is none of {', '.join(READERS)}")
                found = datasets.load_dataset(READERS[suffix], data_files=self.place, streaming=True)
            elif any((self.local / name).is_file() for name in SAVED):
                found = datasets.load_from_disk(self.place)
            else:
                found = datasets.load_dataset(self.place, config, revision=self.revision, streaming=True)
        except DataError:
            raise
        except Exception as error:
            raise refusal(self.source, error) from error
        return dict(found) if isinstance(found, Mapping) else {"train": found}

    def fingerprint(self, config: str | None) -> str:
        """Of the files' contents where they are here, else of the hub's commit."""
        if self.local.exists():
            inside = [self.local] if self.local.is_file() else sorted(self.local.rglob("*"))
            return files_fingerprint([path for path in inside if path.is_file()], config)
        import datasets

        try:
            builder = datasets.load_dataset_builder(self.place, config, revision=self.revision)
        except Exception as error:
            raise refusal(self.source, error) from error
        return fingerprint(self.place, config, builder.hash)

    def rows(self, rows: Any, what: str, report: Report = stop) -> Placed[Row]:
        """Each row with its number, from 1; a failure on the way ends the reading."""
        number = 0
        try:
            for number, row in enumerate(rows, 1):
                yield f"{self.source}: {what}, row {number}", row
        except Exception as error:
            where = f"{self.source}: {what}, row {number + 1}"
            raise DataError(f"{where}: {refusal('cannot be read', error)}") from error


def columns_in(rows: Any) -> list[str]:
    """The columns' names; a stream that does not know them is asked for its first row."""
    return list(rows.column_names or next(iter(rows), {}))


def plain_split(name: str) -> str:
    """Our name of a split: ``dev`` for ``validation``; other names stay."""
    return SPLIT_WORDS.get(name, name)


class HubTriple(LocatedCollection):
    """A data set in BEIR's form: configs ``corpus``, ``queries`` and one of judgements, with the splits.

    Args:
        hub: the data set.
        judgements: where the judgements are; a data set of its own for some.
        config: the judgements' config there.
    """

    def __init__(self, hub: Hub, judgements: Hub, config: str | None) -> None:
        super().__init__(hub.place.rstrip("/").rpartition("/")[2], hub.source)
        self._hub, self._judgements, self._config = hub, judgements, config
        self._qrels = {plain_split(name): rows for name, rows in judgements.splits(config).items()}

    @property
    def splits(self) -> list[str]:
        """The judgements' splits; ``validation`` is called ``dev``."""
        return order_splits(self._qrels)

    @property
    def fingerprint(self) -> str:
        """16 hex digits: the hub's commits, or the contents of local files."""
        corpus, queries = (self._hub.fingerprint(config) for config in ("corpus", "queries"))
        return fingerprint(corpus, queries, self._judgements.fingerprint(self._config))

    def located_passages(self, report: Report = stop) -> Placed[Passage]:
        """Each row of the corpus."""
        return self._read("corpus", passage_of_object, report)

    def located_queries(self, report: Report = stop) -> Placed[Query]:
        """Each row of the queries, judged or not."""
        return self._read("queries", query_of_row, report)

    def _read(self, config: str, parse: Callable[[Row, Columns], Item], report: Report) -> Placed[Item]:
        for rows in self._hub.splits(config).values():
            where = f"{self.source}: {config}"
            columns = choose_columns(where, columns_in(rows), {"text": "text"})
            yield from read_table(
                Table(where, [], "", partial(self._hub.rows, rows, config)), parse, columns, report
            )

    def read_split(self, split: str, report: Report) -> Placed[Judgement]:
        """Each row of the judgements; a grade such as 1.0 is the whole number that it is."""
        rows = self._qrels[split]
        names = columns_in(rows)
        places = [
            next((name for name in names if name.lower() in known), "")
            for known in (QUERY_NAMES, PASSAGE_NAMES, GRADE_NAMES)
        ]
        lacking = [
            one for one, place in zip(("query-id", "corpus-id", "score"), places, strict=True) if not place
        ]
        if lacking:
            raise DataError(
                f"{self.source}: qrels: no column {lacking[0]!r}{did_you_mean(lacking[0], names)}"
            )
        query, passage, score = places

        def judgement(row: Row) -> Judgement:
            try:
                grade = float(row[score])
                if grade != int(grade):
                    raise ValueError(f"relevance {row[score]!r} is not a whole number; write 0, 1, 2, ...")
            except (TypeError, OverflowError) as error:
                raise ValueError(f"{error}; write 0, 1, 2, ...") from None
            found = Judgement(cell(row, query), cell(row, passage), int(grade))
            check_judgement(found)
            return found

        yield from parsed(self._judgements.rows(rows, f"qrels {split!r}", report), judgement, report)


def query_of_row(row: Row, columns: Columns) -> Query:
    """A row's question; what else the row holds are its fields."""
    own = (columns.id, columns.text, "title")
    more = {name: value for name, value in row.items() if name not in own and value}
    nested = more.pop("metadata", None)
    fields = {**more, **(nested if isinstance(nested, Mapping) else {})}
    return make_query(cell(row, columns.id), cell(row, columns.text), fields)


def open_hf(rest: str) -> Collection:
    """``hf:NAME[?OPTION=VALUE&...]``: a data set of the hub, a local folder or file of one.

    With a config ``corpus`` it is BEIR's triple, otherwise training rows (query, positive, negative) or
    passages. Options: ``config``, ``revision``, ``split`` (of a single one), ``qrels`` (the data set with the
    judgements), and the columns as for ``csv:``.

    Raises:
        DataError: what the library refuses, several configs and none chosen, a missing column.
    """
    source = f"hf:{rest}"
    place, options = parse_locator(source, rest, (*OPTIONS, *MORE_OPTIONS))
    hub = Hub(source, place, options.get("revision"))
    configs, config = hub.configs(), options.get("config")
    if config is not None and config not in configs:
        raise DataError(f"{source}: no config {config!r}{did_you_mean(config, configs or ['default'])}")
    if config is None and {"corpus", "queries"} <= set(configs):
        role = next((name for name in options if name in OPTIONS), None)
        if role is not None:
            raise DataError(
                f"{source}: a retrieval set, whose columns are known; leave out {role}, or choose a config "
                "with training rows: ?config=NAME"
            )
        inside = next((name for name in QRELS_CONFIGS if name in configs), None)
        if inside is None or "qrels" in options:
            # BEIR's own repositories keep the judgements in a second one
            return HubTriple(hub, Hub(source, options.get("qrels", f"{place}-qrels")), None)
        return HubTriple(hub, hub, inside)
    if config is None and len(configs) > 1 and "default" not in configs:
        raise DataError(f"{source}: several configs; choose one: ?config={'|'.join(configs)}")
    config = config or ("default" if "default" in configs else next(iter(configs), None))
    own = hub.splits(config)
    wanted = options.get("split")
    if wanted is not None and wanted not in own:
        raise DataError(f"{source}: no split {wanted!r}{did_you_mean(wanted, list(own))}")
    tables = [
        Table(f"{source}: {name}", columns_in(rows), plain_split(name), partial(hub.rows, rows, name))
        for name, rows in own.items()
        if wanted in (None, name)
    ]
    name = hub.place.rstrip("/").rpartition("/")[2]
    return tables_as_collection(
        name, source, tables, options, lambda: fingerprint(hub.fingerprint(config), options)
    )
