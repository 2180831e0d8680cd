"""A folder of documents as a collection: ``files:docs``, or the folder alone."""

from collections.abc import Collection, Iterator
from pathlib import Path

from ernie_search._util.files import fingerprint
from ernie_search._util.lines import Placed, Report, stop
from ernie_search.data.collection import LocatedCollection
from ernie_search.data.files.cut import WORDS
from ernie_search.data.files.reading import READERS_VERSION, Read, read_file
from ernie_search.data.files.walk import Found, Skipped, Walk, walk
from ernie_search.data.locator import parse_locator
from ernie_search.errors import DataError
from ernie_search.types import Judgement, Passage, Query

LARGEST = 50
"""MB of a file that is still read."""
NAMED = 5
"""Files that a message names; others are counted."""


class FilesCollection(LocatedCollection):
    """The documents of a folder, cut into passages. It has no questions.

    Attributes:
        root: the folder, or a single file.
        words: of a passage at most.
        largest: bytes of a file that is still read.
        exclude: folders that are left out.
        skipped: files that the last complete reading left out, and why.
        notes: what that reading has to say of files that it read, by their path.
        files: how many files it read.
    """

    def __init__(
        self,
        root: Path,
        source: str,
        *,
        words: int = WORDS,
        largest: int = LARGEST << 20,
        exclude: Collection[Path] = (),
    ) -> None:
        """See the attributes.

        Raises:
            DataError: there is no such folder or file.
        """
        super().__init__(root.resolve().name or "files", source)
        if not root.exists():
            raise DataError(f"{root}: no such file or folder; {source} names it")
        self.root, self.words, self.largest, self.exclude = root, words, largest, exclude
        self.skipped: list[Skipped] = []
        self.notes: dict[str, str] = {}
        self.files = 0

    @property
    def splits(self) -> list[str]:
        """None."""
        return []

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the files' paths and contents, and of how they are cut."""
        return self.fingerprint_of({one.path: read.sha256 for one, read in self.readings()})

    def fingerprint_of(self, contents: dict[str, str]) -> str:
        """16 hex digits of these paths with their SHA-256, and of how they are cut."""
        return fingerprint("files", READERS_VERSION, self.words, sorted(contents.items()))

    def walk(self) -> Walk:
        """The files that may be documents."""
        return walk(self.root, exclude=self.exclude, largest=self.largest)

    def read(self, found: Found, known: str = "") -> Read | Skipped | None:
        """One of them; see ``read_file``."""
        return read_file(found, self.words, known)

    def readings(self) -> Iterator[tuple[Found, Read]]:
        """Every file that can be read, one after the other; then ``skipped`` and ``notes`` tell of them.

        Raises:
            DataError: none can be.
        """
        walked = self.walk()
        skipped, notes, files = list(walked.skipped), {}, 0
        for found in walked.files:
            read = self.read(found)
            if isinstance(read, Read):
                files += 1
                if read.note:
                    notes[found.path] = read.note
                yield found, read
            elif read is not None:
                skipped.append(read)
        self.skipped, self.notes, self.files = skipped, notes, files
        if not files:
            raise self.nothing_to_read(skipped)

    def nothing_to_read(self, skipped: list[Skipped]) -> DataError:
        """What to say of a folder without a readable document."""
        why = f" ({say_skipped(skipped)})" if skipped else ""
        return DataError(
            f"{self.root}: no file that can be read{why}; name a folder with text, Markdown, HTML, PDF or "
            "Word files"
        )

    def located_passages(self, report: Report = stop) -> Placed[Passage]:
        """Each passage with its file and line."""
        for found, read in self.readings():
            for passage in read.passages:
                place = passage.fields.get("line") or passage.fields.get("page") or 1
                yield f"{found.place}:{place}", passage

    def located_queries(self, report: Report = stop) -> Placed[Query]:
        """None."""
        return iter(())

    def read_split(self, split: str, report: Report) -> Placed[Judgement]:
        """None."""
        return iter(())


def open_files(rest: str) -> FilesCollection:
    """``files:DIR``, with the options ``words`` (of a passage at most) and ``largest`` (MB of a file).

    Raises:
        DataError: no such folder or file, or an option that is no whole number above 0.
    """
    source = f"files:{rest}"
    place, options = parse_locator(source, rest, ("words", "largest"))
    numbers = {name: _number(source, name, value) for name, value in options.items()}
    return FilesCollection(
        Path(place).expanduser(),
        source,
        words=numbers.get("words", WORDS),
        largest=numbers.get("largest", LARGEST) << 20,
    )


def _number(source: str, name: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise DataError(f"{source}: {name} is {value!r}; give a whole number above 0")
    return int(value)


def say_skipped(skipped: list[Skipped], most: int = NAMED) -> str:
    """``3 skipped: a.pdf (no text), ...``, and what installs the readers that are missing."""
    from ernie_search.data.files.reading import readable_path

    named = ", ".join(f"{readable_path(one.path)} ({one.reason})" for one in skipped[:most])
    more = f", and {len(skipped) - most} more" if len(skipped) > most else ""
    extras = sorted({one.extra for one in skipped if one.extra})
    install = f'; for these: pip install "ernie-search[{",".join(extras)}]"' if extras else ""
    return f"{len(skipped)} skipped: {named}{more}{install}"
