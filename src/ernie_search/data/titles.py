"""Titles on or off: a file of titles beside the passages, and a collection read as if it had none."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ernie_search._util.files import fingerprint
from ernie_search.data.collection import Collection, Judgement, Report, stop
from ernie_search.data.located import LocatedCollection, with_places
from ernie_search.data.readers import read_rows
from ernie_search.errors import DataError
from ernie_search.types import Passage, Query

OFF = "titles=none"
"""The option, of every format, that leaves the titles out."""
NO_TITLE = "-"
"""What stands in a file of titles where a page has none (RocketQA's para.title.txt)."""

LocatedPassages = Iterator[tuple[str, Passage]]


def take_titles_off(rest: str) -> tuple[str, bool]:
    """What stands after a source's colon without the option ``titles=none``, and whether that was there."""
    place, mark, options = rest.rpartition("?")
    parts = options.split("&")
    if not mark or OFF not in parts or Path(rest).exists():
        return rest, False
    others = "&".join(part for part in parts if part != OFF)
    return f"{place}?{others}" if others else place, True


class WithoutTitles(LocatedCollection):
    """Another collection without its titles. A passage that is nothing but its title keeps it, as its text.

    Args:
        inner: the collection as it is.
        source: what ``open_collection`` was asked for.
    """

    def __init__(self, inner: Collection, source: str) -> None:
        super().__init__(inner.name, source)
        self.inner = inner

    @property
    def splits(self) -> list[str]:
        """Those of the collection."""
        return self.inner.splits

    @property
    def fingerprint(self) -> str:
        """Another one than with titles: models, lists and indexes of the two must not be mixed."""
        return fingerprint(self.inner.fingerprint, OFF)

    def located_passages(self, report: Report = stop) -> LocatedPassages:
        """Each passage, its title left out."""
        for where, passage in with_places(self.inner).located_passages(report):
            text = passage.text if passage.text.strip() else passage.title
            yield where, replace(passage, text=text, title="")

    def located_queries(self, report: Report = stop) -> Iterator[tuple[str, Query]]:
        """Each question."""
        return with_places(self.inner).located_queries(report)

    def read_split(self, split: str, report: Report) -> Iterator[tuple[str, Judgement]]:
        """Each judgement of the split."""
        return with_places(self.inner).located_judgements(split, report)


def with_title_file(passages: LocatedPassages, path: Path, report: Report = stop) -> LocatedPassages:
    """Passages with the titles of a file that goes through them in their order; only a line is held.

    Args:
        passages: each with its place.
        path: ``id<TAB>title`` lines, plain or .gz, in the order of the passages. A passage may have no line,
            or "-" for its title: it has none then.

    Raises:
        DataError: a line without two columns, one whose id no later passage has.
    """
    titles = _titles(path, report)
    where_title, wanted, title = next(titles, ("", "", ""))
    for where, passage in passages:
        if wanted == passage.id:
            passage = replace(passage, title=title)
            where_title, wanted, title = next(titles, ("", "", ""))
        yield where, passage
    if wanted:
        report(
            DataError(
                f"{where_title}: no passage {wanted!r} after those of the lines before; "
                "bring the titles into the order of the passages"
            )
        )


def _titles(path: Path, report: Report) -> Iterator[tuple[str, str, str]]:
    """Place, passage id and title of each line."""
    for number, cells in read_rows(path, "\t", quoted=False, report=report):
        where = f"{path}:{number}"
        if len(cells) != 2 or not cells[0].strip():
            report(
                DataError(
                    f"{where}: {len(cells)} columns where id, title belong, between tabs; mend the line"
                )
            )
            continue
        title = cells[1].strip()
        yield where, cells[0], "" if title == NO_TITLE else title
