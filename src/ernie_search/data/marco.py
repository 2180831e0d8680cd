"""MS MARCO's folder: collection.tsv, queries.*.tsv, qrels.*.tsv, and its training triples."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from ernie_search._util.files import did_you_mean
from ernie_search._util.lines import Placed, Report, parsed, stop
from ernie_search._util.trec import read_judgements
from ernie_search.data.collection import (
    LocatedCollection,
    each_once,
    order_splits,
)
from ernie_search.data.examples import (
    Example,
    ExampleCollection,
    make_passage,
    make_query,
    skip_again,
)
from ernie_search.data.id_set import IdSet
from ernie_search.data.locator import files_fingerprint, parse_locator
from ernie_search.data.readers import read_rows
from ernie_search.errors import DataError
from ernie_search.types import Judgement, Passage, Query, checked_passage

Item = TypeVar("Item")
ENDINGS = (".tsv", ".tsv.gz")
TITLES = ("titles.tsv", "titles.tsv.gz", "para.title.txt", "para.title.txt.gz")
"""Files of titles that are read where they are there; the collection itself has none."""
NO_TITLE = "-"
"""What stands in a file of titles where a page has none (RocketQA's para.title.txt)."""
COLLECTION, QUERIES, QRELS, TRIPLES, ID_TRIPLES = "collection", "queries", "qrels", "triples", "qidpidtriples"


def read_tsv(
    path: Path, columns: tuple[str, ...], parse: Callable[[list[str]], Item], report: Report = stop
) -> Placed[Item]:
    """Each line's cells as ``parse`` makes them, with the line's place; quotes are characters like others.

    Raises:
        DataError: a line with more or fewer cells than columns, what ``parse`` refuses by ValueError.
    """

    def checked(cells: list[str]) -> Item:
        if len(cells) != len(columns):
            form = ", ".join(columns)
            raise ValueError(f"{len(cells)} columns where {form} belong, between tabs; correct the line")
        return parse(cells)

    return parsed(read_rows(path, "\t", quoted=False, report=report), checked, report)


def with_titles(passages: Placed[Passage], path: Path, report: Report = stop) -> Placed[Passage]:
    """Passages with the titles of a file that has them in the same order; only a line is held.

    Args:
        passages: each with its place.
        path: ``id<TAB>title`` lines, plain or .gz, in the order of the passages. A passage may have no line,
            or "-" for its title: it has none then.

    Raises:
        DataError: a line without two columns, one whose id no later passage has.
    """

    def title_of(cells: list[str]) -> tuple[str, str]:
        title = cells[1].strip()
        return with_id(cells[0]), "" if title == NO_TITLE else title

    titles = read_tsv(path, ("id", "title"), title_of, report)
    place, (wanted, title) = next(titles, ("", ("", "")))
    for where, passage in passages:
        if wanted == passage.id:
            passage = replace(passage, title=title)
            place, (wanted, title) = next(titles, ("", ("", "")))
        yield where, passage
    if wanted:
        report(
            DataError(
                f"{place}: no passage {wanted!r} after those of the lines before; "
                "bring the titles into the order of the passages"
            )
        )


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

    def located_passages(self, report: Report = stop) -> Placed[Passage]:
        """Each line of the collection, with its title where there is a file of titles."""

        def parse(cells: list[str]) -> Passage:
            return Passage(with_id(cells[0]), cells[1])

        found = read_tsv(self._corpus, ("id", "passage"), parse, report)
        for path in self._titles:
            found = with_titles(found, path, report)
        return parsed(found, checked_passage, report)  # only now, as a title alone is enough

    def located_queries(self, report: Report = stop) -> Placed[Query]:
        """Each line of the queries' files; one that stands in two files (dev and dev.small) once."""

        def parse(cells: list[str]) -> Query:
            return make_query(with_id(cells[0]), cells[1])

        if self.splits and not self._queries:
            raise DataError(f"{self.folder}: qrels but no queries.*.tsv; add the questions")
        return each_once(read_tsv(path, ("id", "question"), parse, report) for path in self._queries.values())

    def read_split(self, split: str, report: Report) -> Placed[Judgement]:
        """The qrels' lines, or the triples': first what is relevant, then what is not."""
        if split in self._qrels:
            yield from read_judgements(self._qrels[split], report)
            return
        path, columns = self._triples[split], ("question id", "relevant id", "irrelevant id")

        def pair(cells: list[str], place: int) -> Judgement:
            return Judgement(with_id(cells[0]), with_id(cells[place]), 2 - place)

        seen = IdSet()
        for place in (1, 2):  # a passage that is relevant anywhere stays so
            again = report if place == 1 else skip_again(report)
            for where, row in read_tsv(path, columns, partial(pair, place=place), again):
                if seen.add(f"{row.query}\t{row.passage}"):
                    yield where, row


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

    def read(path: Path, report: Report) -> Placed[Example]:
        return read_tsv(path, columns, parse_text_triple, report)

    return ExampleCollection(
        folder.resolve().name,
        source,
        {split: partial(read, path) for split, path in triples.items()},
        lambda: files_fingerprint(list(triples.values())),
    )
