"""MS MARCO's folder: collection.tsv, queries.*.tsv, qrels.*.tsv, and its training triples."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from ernie_search._util.files import did_you_mean
from ernie_search.data.collection import Judgement, Report, order_splits, stop
from ernie_search.data.columns import Example, ExampleCollection, make_passage, make_query
from ernie_search.data.id_set import IdSet
from ernie_search.data.located import LocatedCollection, files_fingerprint, parse_locator
from ernie_search.data.qrels import read_judgements
from ernie_search.data.readers import read_rows
from ernie_search.data.titles import with_title_file
from ernie_search.errors import DataError
from ernie_search.types import Passage, Query, checked_passage

Item = TypeVar("Item")
ENDINGS = (".tsv", ".tsv.gz")
TITLES = ("titles.tsv", "titles.tsv.gz", "para.title.txt", "para.title.txt.gz")
"""Files of titles that are read where they are there; the collection itself has none."""
COLLECTION, QUERIES, QRELS, TRIPLES, ID_TRIPLES = "collection", "queries", "qrels", "triples", "qidpidtriples"


def read_tsv(
    path: Path, columns: tuple[str, ...], parse: Callable[[list[str]], Item], report: Report = stop
) -> Iterator[tuple[str, Item]]:
    """Each line's cells as ``parse`` makes them, with the line's place; quotes are characters like others.

    Raises:
        DataError: a line with more or fewer cells than columns, what ``parse`` refuses by ValueError.
    """
    for number, cells in read_rows(path, "\t", quoted=False, report=report):
        where = f"{path}:{number}"
        if len(cells) != len(columns):
            form = ", ".join(columns)
            report(
                DataError(f"{where}: {len(cells)} columns where {form} belong, between tabs; mend the line")
            )
            continue
        try:
            item = parse(cells)
        except ValueError as error:
            report(DataError(f"{where}: {error}"))
            continue
        yield where, item


def with_id(identifier: str) -> str:
    """The id, which has to be there; ValueError if not."""
    if not identifier.strip():
        raise ValueError("an empty id; fill it in or remove the line")
    return identifier


def parse_text_triple(cells: list[str]) -> Example:
    """Question, relevant and irrelevant passage, all as texts."""
    question, positive, negative = cells
    return Example(make_query("", question), (make_passage("", positive),), (make_passage("", negative),))


def split_name(path: Path, stem: str) -> str:
    """``qrels.dev.small.tsv`` -> ``dev.small``; ``triples.tsv`` and ``triples.train.small.tsv`` -> train."""
    name = path.name.removesuffix(".gz").removesuffix(".tsv").removeprefix(stem).strip(".")
    if stem in (TRIPLES, ID_TRIPLES):
        return name.split(".")[0] or "train"
    return name or ("test" if stem == QRELS else "")


def find_files(folder: Path, stem: str) -> dict[str, Path]:
    """Split -> file. A small set goes by its split's plain name where the whole one is not there."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(f"{stem}.") and path.name.endswith(ENDINGS):
            split = split_name(path, stem)
            if split in found:
                both = f"{found[split].name} and {path.name}"
                raise DataError(f"{folder}: both {both}; remove the one that is not meant")
            found[split] = path
    for small in [split for split in found if split.endswith(".small")]:
        if small.removesuffix(".small") not in found:
            found[small.removesuffix(".small")] = found.pop(small)
    return found


class MarcoCollection(LocatedCollection):
    """The folder as it is unpacked; nothing of it is kept in memory.

    Args:
        folder: has a collection.tsv[.gz].
        source: what ``open_collection`` was asked for.
        titles: a file of the passages' titles, in their order; absent: one of the usual names, where it is.

    Raises:
        DataError: no such file of titles.
    """

    def __init__(self, folder: Path, source: str, titles: str | None = None) -> None:
        super().__init__(folder.resolve().name, source)
        self.folder = folder
        usual = [folder / name for name in TITLES if (folder / name).is_file()]
        self._titles = [folder / titles] if titles is not None else usual[:1]
        for path in self._titles:
            if not path.is_file():
                raise DataError(f"{path}: no such file of titles; name one of the folder, or ?titles=none")
        self._corpus = find_files(folder, COLLECTION)[""]
        self._queries = find_files(folder, QUERIES)
        self._qrels = find_files(folder, QRELS)
        triples = find_files(folder, ID_TRIPLES)
        self._triples = {split: path for split, path in triples.items() if split not in self._qrels}

    @property
    def splits(self) -> list[str]:
        """The names in qrels.*.tsv, and in qidpidtriples.*.tsv where there are no qrels."""
        return order_splits([*self._qrels, *self._triples])

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the files' names and contents."""
        groups = (self._queries, self._qrels, self._triples)
        paths = [self._corpus, *(path for group in groups for path in group.values()), *self._titles]
        return files_fingerprint(paths)

    def located_passages(self, report: Report = stop) -> Iterator[tuple[str, Passage]]:
        """Each line of the collection, with its title where there is a file of titles."""

        def parse(cells: list[str]) -> Passage:
            return Passage(with_id(cells[0]), cells[1])

        found = read_tsv(self._corpus, ("id", "passage"), parse, report)
        for path in self._titles:
            found = with_title_file(found, path, report)
        for where, passage in found:
            try:
                passage = checked_passage(passage)  # only now, as a title alone is enough
            except ValueError as error:
                report(DataError(f"{where}: {error}"))
                continue
            yield where, passage

    def located_queries(self, report: Report = stop) -> Iterator[tuple[str, Query]]:
        """Each line of the queries' files; one that stands in two files (dev and dev.small) once."""

        def parse(cells: list[str]) -> Query:
            return make_query(with_id(cells[0]), cells[1])

        if self.splits and not self._queries:
            raise DataError(f"{self.folder}: qrels but no queries.*.tsv; add the questions")
        earlier: list[IdSet] = []
        for path in self._queries.values():
            own = IdSet()
            for where, query in read_tsv(path, ("id", "question"), parse, report):
                key = f"{query.id}\t{query.text}"
                if not any(key in one for one in earlier):
                    own.add(key)
                    yield where, query
            earlier.append(own)

    def read_split(self, split: str, report: Report) -> Iterator[tuple[str, Judgement]]:
        """The qrels' lines, or the triples': first what is relevant, then what is not."""
        if split in self._qrels:
            yield from read_judgements(self._qrels[split], report)
            return
        path, columns = self._triples[split], ("question id", "relevant id", "irrelevant id")

        def pair(cells: list[str], place: int) -> Judgement:
            return Judgement(with_id(cells[0]), with_id(cells[place]), 2 - place)

        seen = IdSet()
        for place in (1, 2):  # a passage that is relevant anywhere stays so
            for where, row in read_tsv(
                path, columns, partial(pair, place=place), report if place == 1 else quiet
            ):
                if seen.add(f"{row.query}\t{row.passage}"):
                    yield where, row


def quiet(error: DataError) -> None:
    """Skip what an earlier reading told."""


def open_marco(rest: str) -> LocatedCollection:
    """``marco:DIR``: a folder with MS MARCO's own files, each plain or .gz; ``?titles=FILE`` adds titles.

    Without a collection.tsv, triples.*.tsv (question, relevant, irrelevant passage as texts) make the corpus.

    Raises:
        DataError: no such folder, neither a collection nor triples in it.
    """
    source = f"marco:{rest}"
    place, options = parse_locator(source, rest, ("titles",))
    folder = Path(place).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; name the one that holds collection.tsv")
    if "" in find_files(folder, COLLECTION):
        return MarcoCollection(folder, source, options.get("titles"))
    triples = find_files(folder, TRIPLES)
    if not triples:
        names = [path.name for path in sorted(folder.iterdir())]
        hint = did_you_mean("collection.tsv", names) if names else ""
        raise DataError(f"{folder}: no collection.tsv and no triples.*.tsv{hint}")
    columns = ("question", "relevant passage", "irrelevant passage")

    def read(path: Path, report: Report) -> Iterator[tuple[str, Example]]:
        return read_tsv(path, columns, parse_text_triple, report)

    return ExampleCollection(
        folder.resolve().name,
        source,
        {split: partial(read, path) for split, path in triples.items()},
        lambda: files_fingerprint(list(triples.values())),
    )
