"""Data sets of the ir_datasets package (MacAvaney et al. 2021), which fetches and checks them by their id."""

from typing import Any

from ernie_search._util.files import did_you_mean, fingerprint
from ernie_search._util.lines import Placed, Report, parsed, stop
from ernie_search._util.trec import check_judgement
from ernie_search.data.collection import (
    LocatedCollection,
    each_once,
    order_splits,
)
from ernie_search.data.examples import make_passage, make_query
from ernie_search.data.locator import SPLIT_WORDS, parse_locator
from ernie_search.errors import DataError
from ernie_search.types import Judgement, Passage, Query

TEXTS = ("text", "body", "abstract")
"""Where a document's text is, by preference; its ``default_text()`` would repeat the title."""
TITLES = ("title", "document_title")
FIELDS = ("url", "document_url", "doi", "date", "parent_doc_id")
"""What else is kept of a document; the rest (mark-up, offsets, headers) repeats the text or is of no use."""


def package(source: str) -> Any:
    """The ir_datasets module; DataError that names the extra where it is missing."""
    try:
        import ir_datasets
    except ImportError:
        raise DataError(
            f"{source}: needs the package ir_datasets; install it with: pip install 'ernie-search[irds]'"
        ) from None
    return ir_datasets


def attribute(item: Any, names: tuple[str, ...]) -> str:
    """The first of the named attributes that holds anything, as a string."""
    return next((str(value) for name in names if (value := getattr(item, name, None))), "")


def passage_of(doc: Any) -> Passage:
    """The passage of a document; ValueError if it is empty."""
    fields = {name: value for name in FIELDS if (value := getattr(doc, name, None))}
    title = attribute(doc, TITLES)
    return make_passage(
        doc.doc_id, attribute(doc, TEXTS) or ("" if title else doc.default_text()), title, fields
    )


def query_of(query: Any) -> Query:
    """A question; for TREC's topics the title, with description and narrative as fields."""
    text = attribute(query, ("text", "title")) or query.default_text()
    others = {name: value for name, value in query._asdict().items() if name != "query_id" and value}
    fields = {name: value for name, value in others.items() if value != text}
    return make_query(query.query_id, text, fields)


class IrDatasets(LocatedCollection):
    """One data set and its subsets with judgements, which are the splits.

    Args:
        source: what ``open_collection`` was asked for.
        identifier: the data set with the documents.
        splits: split -> id of the data set with its questions and judgements.
    """

    def __init__(self, source: str, identifier: str, splits: dict[str, str]) -> None:
        super().__init__(identifier.replace("/", "-"), source)
        self._package = package(source)
        self._id, self._splits = identifier, splits

    @property
    def splits(self) -> list[str]:
        """The splits' names."""
        return order_splits(self._splits)

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the ids and of the package's version: it checks what it fetches by its hash."""
        return fingerprint("irds", self._id, self._splits, self._package.__version__)

    def located_passages(self, report: Report = stop) -> Placed[Passage]:
        """Each document as a passage."""
        return parsed(self._rows(self._id, "docs"), passage_of, report)

    def located_queries(self, report: Report = stop) -> Placed[Query]:
        """Each question of the splits; one that is in several of them once."""
        return each_once(
            parsed(self._rows(self._splits[split], "queries"), query_of, report) for split in self.splits
        )

    def read_split(self, split: str, report: Report) -> Placed[Judgement]:
        """Each judgement of the split."""

        def parse(row: Any) -> Judgement:
            judgement = Judgement(row.query_id, row.doc_id, int(row.relevance))
            check_judgement(judgement)
            return judgement

        return parsed(self._rows(self._splits[split], "qrels"), parse, report)

    def _rows(self, identifier: str, what: str) -> Placed[Any]:
        """The package's own records with their numbers; DataError for whatever it raises on the way."""
        number = 0
        try:
            rows = getattr(self._package.load(identifier), f"{what}_iter")()
            for number, one in enumerate(rows, 1):
                yield f"irds:{identifier}: {what} {number}", one
        except Exception as error:  # fetching, unpacking, reading
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            where = f"irds:{identifier}: {what} {number + 1}"
            raise DataError(
                f"{where}: cannot be read ({first:.200}); check the connection, or see the package's page "
                "of this data set"
            ) from error


def subsets(module: Any, source: str, identifier: str, wanted: str) -> dict[str, str]:
    """The splits of a data set: name -> id of the subset that judges it.

    Args:
        wanted: the option ``splits``: subsets, separated by commas, each perhaps with our name for it before
            a colon (``dev:dev/small``). Empty: the data set itself if it has judgements, else those of its
            subsets that are called train, dev, test or the like.
    """
    if wanted:
        named = {}
        for part in wanted.split(","):
            name, _, child = part.strip().rpartition(":")
            full = f"{identifier}/{child}"
            known = [
                one.removeprefix(f"{identifier}/") for one in module.registry if one.startswith(identifier)
            ]
            if child not in known or not module.load(full).has_qrels():
                raise DataError(f"{source}: no subset {child!r} with judgements{did_you_mean(child, known)}")
            named[name or child.replace("/", ".")] = full
        return named
    last = identifier.rpartition("/")[2]
    if module.load(identifier).has_qrels():
        return {SPLIT_WORDS.get(last, "test"): identifier}
    found: dict[str, str] = {}
    for word, split in SPLIT_WORDS.items():
        full = f"{identifier}/{word}"
        if full in module.registry and module.load(full).has_qrels():
            found.setdefault(split, full)
    return found


def open_irds(rest: str) -> IrDatasets:
    """``irds:ID[?splits=NAME,NAME...]``: a data set of ir_datasets, fetched when it is first read.

    Raises:
        DataError: the package is not installed, no such data set, one without documents.
    """
    source = f"irds:{rest}"
    identifier, options = parse_locator(source, rest, ("splits",))
    module = package(source)
    try:
        dataset = module.load(identifier)
    except KeyError:
        raise DataError(
            f"{source}: no such data set{did_you_mean(identifier, list(module.registry))[:200]}"
        ) from None
    if not dataset.has_docs():
        raise DataError(f"{source}: has no documents; choose the data set that they belong to")
    return IrDatasets(source, identifier, subsets(module, source, identifier, options.get("splits", "")))
